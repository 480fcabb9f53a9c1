"""What tasks are claimed from: the steps of a flow that take the same kind of room.

A queue holds the tasks of all steps of its flow, and they differ in what they need: a child, several, a place in an
event loop, a turn under a limit of their own. Asking the queue for "ten tasks" would bring ten of the step that
is saturated, to be given back, while those of another step wait behind them. So each flow is asked by source: the
steps of one executor together, a step with a weight or a limit on its own, each for as many as can start. The
claim passes over tasks of other sources in the queue (`pgflow_mp.claim_tasks`), and a saturated step costs its
neighbours nothing. A flow whose steps are all alike, which is most, has one source and no filter.

The first source of a flow takes all steps but those of the others: also those that nobody here knows, which is how
they are noticed (`engine.strangers`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgflow_mp.definition import ExecutorName, FlowDefinition, StepDefinition
    from pgflow_mp.executors.base import TaskCall


@dataclass(frozen=True, slots=True)
class Source:
    """Some steps of a flow whose tasks take the same kind of room.

    Attributes:
        flow_slug: The flow.
        executor: Where they run.
        alone: The step, where it has a source of its own; else empty.
        steps: Steps that belong to it; for the first source those that do not.
        is_rest: All steps but `steps`.
        weight: Children that a task takes.
        limit: The most tasks at once; None where there is no limit.
        kin: Its handlers serve many flows (`registry`), so how long its tasks take is known from theirs.
    """

    flow_slug: str
    executor: ExecutorName
    alone: str
    steps: frozenset[str]
    is_rest: bool
    weight: int = 1
    limit: int | None = None
    kin: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """Names it, also after the flow's other steps have changed; all that are kin have one name."""
        return ("" if self.kin else self.flow_slug, self.executor, self.alone)

    @property
    def filter(self) -> str | None:
        """The steps as `claim_tasks` takes them; None for all."""
        if self.is_rest and not self.steps:
            return None
        return ("-" if self.is_rest else "") + ",".join(sorted(self.steps))

    def covers(self, step_slug: str) -> bool:
        """Whether the step belongs to it."""
        return (step_slug in self.steps) is not self.is_rest


def key_of(call: TaskCall) -> tuple[str, str, str]:
    """Return the key of the source of a call."""
    executor, alone = _kind(call.step)
    return ("" if call.step.is_registered and not alone else call.flow.slug, executor, alone)


def step_key_of(call: TaskCall) -> tuple[str, str]:
    """Return what the durations of a call's step are known by: the handler, where it serves many flows."""
    if call.step.is_registered:
        return ("", call.step.source or str(getattr(call.step.handler, "__qualname__", call.step.slug)))
    return (call.flow.slug, call.step.slug)


def sources_of(flow: FlowDefinition) -> list[Source]:
    """Return the sources of a flow; each of its steps belongs to one."""
    kinds: dict[tuple[ExecutorName, str], list[StepDefinition]] = {}
    for step in flow.steps:
        kinds.setdefault(_kind(step), []).append(step)
    groups = sorted(kinds.items(), key=lambda group: group[0][1] != "")  # a limit would hide the unknown steps
    known = {step.slug for step in flow.steps}
    return [
        Source(
            flow.slug,
            executor,
            alone,
            frozenset(known - {step.slug for step in steps}) if index == 0 else frozenset(step.slug for step in steps),
            is_rest=index == 0,
            weight=steps[0].processes or 1,
            limit=steps[0].concurrency,
            kin=not alone and all(step.is_registered for step in flow.steps),
        )
        for index, ((executor, alone), steps) in enumerate(groups)
    ]


def _kind(step: StepDefinition) -> tuple[ExecutorName, str]:
    special = step.concurrency is not None or (step.processes or 1) > 1
    return (step.runs_in, step.slug if special else "")
