"""Tasks of steps that this worker does not know: left to others for a while, then ended, so that runs end.

In a rolling deploy an old worker meets steps of the new code, and where a flow's steps are divided among languages
each worker meets the others'. Such a task goes back to its queue, and costs no attempt. But a step that nobody knows
(renamed in the code, a worker that was never deployed) would keep its run open for ever. So a clock runs for each
such task, only while no other live worker is on its queue (D-24): at its end the task fails for good, and says so.

The clocks are in memory: a worker that starts again gives the task its whole time again.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from pgflow_mp.core.queries.workers import flows_of_other_workers
from pgflow_mp.definition import StepDefinition
from pgflow_mp.errors import StepNotFound
from pgflow_mp.executors.base import Failed, TaskCall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from pgflow_mp.core.queries.tasks import ClaimedTask
    from pgflow_mp.definition import FlowDefinition
    from pgflow_mp.engine.link import Link
    from pgflow_mp.executors.base import Outcome

logger = logging.getLogger("pgflow_mp.claim")

UNKNOWN_STEP_TIMEOUT = 600.0
"""Seconds that a task of an unknown step waits for a worker that knows it."""


@dataclass(slots=True)
class _Clock:
    """How long a task has had no other worker to hope for.

    Attributes:
        seconds: So long.
        seen: When it was last here (monotonic).
        runs: Whether it had nobody to hope for then.
    """

    seconds: float
    seen: float
    runs: bool


class Met(NamedTuple):
    """Tasks of unknown steps that go back to their queue.

    Attributes:
        for_others: Another live worker is on their queue, and may know them.
        for_nobody: None is, for now.
    """

    for_others: list[ClaimedTask]
    for_nobody: list[ClaimedTask]


class Strangers:
    """Decides what becomes of tasks whose step is not known here.

    Args:
        link: For asking who else is there.
        flows: What is known here.
        worker_ids: The workers that are this process.
        settle: Takes the outcome of a task that is given up.
        timeout: Seconds without a taker.
    """

    def __init__(
        self,
        link: Link,
        flows: Mapping[str, FlowDefinition],
        worker_ids: Mapping[str, UUID],
        settle: Callable[[Outcome], None],
        timeout: float = UNKNOWN_STEP_TIMEOUT,
    ) -> None:
        self._link = link
        self._flows = flows
        self._worker_ids = worker_ids
        self._settle = settle
        self._timeout = timeout
        self._clocks: dict[tuple[UUID, str, int], _Clock] = {}

    async def meet(self, unknown: Sequence[ClaimedTask]) -> Met:
        """Fail the tasks whose time without a taker is up, and return the others: they go back to their queue."""
        if not unknown:
            return Met([], [])
        shared = await self._shared({task.flow_slug for task in unknown})
        given_up = [task for task in unknown if self._tick(task, alone=task.flow_slug not in shared) >= self._timeout]
        for task in given_up:
            self._give_up(task)
        self._forget()
        left = [task for task in unknown if task not in given_up]
        return Met(
            [task for task in left if task.flow_slug in shared], [task for task in left if task.flow_slug not in shared]
        )

    async def _shared(self, flow_slugs: set[str]) -> set[str]:
        """Return the flows that another live worker works on; all of them where that cannot be found out now."""
        try:
            return await self._link.run(flows_of_other_workers(sorted(flow_slugs), list(self._worker_ids.values())))
        except (psycopg.Error, OSError) as error:
            logger.warning("cannot see who else works on %s: %s", ", ".join(sorted(flow_slugs)), error)
            return flow_slugs

    def _tick(self, task: ClaimedTask, *, alone: bool) -> float:
        now = time.monotonic()
        clock = self._clocks.setdefault(_key(task), _Clock(0.0, now, alone))
        if clock.runs and alone:
            clock.seconds += now - clock.seen
        clock.seen, clock.runs = now, alone
        return clock.seconds

    def _give_up(self, task: ClaimedTask) -> None:
        del self._clocks[_key(task)]
        flow = self._flows[task.flow_slug]
        try:
            flow.step(task.step_slug)
            why = "this worker knows it since a moment ago"  # reloaded in between; the next run will go well
        except StepNotFound as error:
            why = str(error)
        text = f"No worker took this task for {_duration(self._timeout)}: {why}"
        logger.error("a task of step `%s` fails: %s", task.step_slug, text)
        call = TaskCall(
            flow=flow,
            step=StepDefinition(task.step_slug),
            run_id=task.run_id,
            task_index=task.task_index,
            attempt=task.attempt,
            worker_id=self._worker_ids[task.flow_slug],
            msg_id=task.msg_id,
            timeout=task.timeout,
            input=task.input,
        )
        self._settle(Failed(call, text, "lost", retryable=False))

    def _forget(self) -> None:
        """Drop the clocks of tasks that have not been here for long: somebody took them, or their run ended."""
        now = time.monotonic()
        for key in [key for key, clock in self._clocks.items() if now - clock.seen > max(self._timeout, 60.0)]:
            del self._clocks[key]


def _key(task: ClaimedTask) -> tuple[UUID, str, int]:
    return (task.run_id, task.step_slug, task.task_index)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds:g} seconds"
