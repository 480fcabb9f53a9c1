"""What `flow_runner` gives back, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from pgflow_mp.errors import RunFailed
from pgflow_mp.results import Run, StepState
from pytest_pgflow._output import Output
from pytest_pgflow._pointing import without_machinery
from pytest_pgflow._table import run_table
from pytest_pgflow._timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pgflow_mp.core.queries.tasks import SkippedDelay
    from pytest_pgflow._events import Event


@dataclass(frozen=True, slots=True, repr=False)
class FlowRun(Run):
    """A run as it was when the runner stopped, with what only the runner knows.

    Attributes:
        skipped: The retry and start delays that were skipped, in order: step, task, seconds.
        events: What hooks saw of it, in order, as plain tuples: the hook without its prefix, then the step, then task
            index and attempt, as far as the hook is about one: ``("task_retried", "charge", 0, 1)``.
        tick_at: The tick of the schedule that started it, in UTC, where `travel` came by it; else None.
    """

    skipped: tuple[SkippedDelay, ...] = ()
    events: tuple[Event, ...] = ()
    tick_at: datetime | None = None

    @classmethod
    def of(cls, run: Run, skipped: Sequence[SkippedDelay] = (), events: tuple[Event, ...] = ()) -> FlowRun:
        """Add to a run what the runner knows of it."""
        known = {field.name: getattr(run, field.name) for field in fields(Run)}
        if isinstance(run.output, dict):
            statuses = {slug: step.status for slug, step in run.steps.items()}
            known["output"] = Output(run.output, run.flow_slug, statuses)
        own = tuple(delay for delay in skipped if delay.run_id == run.run_id)
        return cls(**known, skipped=own, events=events)

    def __getitem__(self, slug: str) -> StepState:
        """Return a step: ``run["charge"]`` is short for ``run.steps["charge"]``."""
        return self.steps[slug]

    @property
    def timeline(self) -> Timeline:
        """When which task ran; ``print(run.timeline)`` draws it."""
        return Timeline.of(self)

    @property
    def skipped_seconds(self) -> float:
        """Seconds of delay that were skipped, all tasks together."""
        return sum(delay.seconds for delay in self.skipped)

    def skipped_seconds_of(self, slug: str, task_index: int = 0) -> float:
        """Return the seconds of delay that were skipped for one task."""
        step = self.steps[slug]
        return sum(
            delay.seconds for delay in self.skipped if (delay.step_slug, delay.task_index) == (step.slug, task_index)
        )


class FlowFailed(RunFailed, AssertionError):  # noqa: N818 - named like RunFailed
    """The run failed, and the test did not say that it might."""

    __module__ = "pytest_pgflow"  # where a person imports it from: every failure begins with this name

    def __init__(self, run: Run, message: str | None = None) -> None:
        super().__init__(run, message if message is not None else tell_failure(run, traceback=True))


def tell_failure(run: Run, *, traceback: bool) -> str:
    """Say how a run failed: the step, its error, and what became of the others.

    Args:
        run: The failed run, with its steps.
        traceback: Whether to include the step's traceback; not where the exception itself is shown too.
    """
    step = run.failed_step
    if step is None:
        headline, details = f"flow `{run.flow_slug}` failed: no step reported an error", ""
    else:
        first, _, rest = (step.error or "without an error").partition("\n")
        headline = f"flow `{run.flow_slug}` failed in step `{step.slug}`{_which(step)}: {first}"
        details = f"\n{rest}\n" if traceback and rest else ""
    return f"{headline}\n{details}\n{run_table(run)}"


def tell_timeout(run: Run, seconds: float) -> str:
    """Say how far a run was when the time was up."""
    return f"flow `{run.flow_slug}` did not end within {seconds:g} s\n\n{run_table(run)}"


def _which(step: StepState) -> str:
    failed = next((task for task in step.tasks if task.failed), None)
    if failed is None:
        return ""
    task = f"task {failed.task_index}, " if len(step.tasks) > 1 else ""
    return f" ({task}attempt {failed.attempts})"


def pruned(error: BaseException) -> BaseException:
    """Cut our own frames off the top of the traceback: it then starts in the handler."""
    frames = without_machinery(error.__traceback__)
    return error.with_traceback(frames) if frames is not None else error
