"""`run.events`: what hooks saw of a run, as plain tuples that a test compares."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pgflow_mp.hooks.manager import Plugins

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from pgflow_mp.hooks.events import RunInfo, StepInfo, TaskInfo

Event: TypeAlias = tuple[str | int, ...]
"""``("run_completed",)``, ``("step_skipped", "audit")``; ``("task_failed", "pay", 0, 3)``."""


class EventLog:
    """A plugin that keeps what is told of each run, in order."""

    def __init__(self) -> None:
        self._events: list[tuple[UUID, Event]] = []

    def of(self, run_id: UUID) -> tuple[Event, ...]:
        """Return what was told of a run."""
        return tuple(event for about, event in self._events if about == run_id)

    def _task(self, verb: str, task: TaskInfo) -> None:
        self._events.append((task.run_id, (f"task_{verb}", task.step_slug, task.task_index, task.attempt)))

    def _step(self, verb: str, step: StepInfo) -> None:
        self._events.append((step.run_id, (f"step_{verb}", step.step_slug)))

    def _run(self, verb: str, run: RunInfo) -> None:
        self._events.append((run.run_id, (f"run_{verb}",)))

    def pgflow_task_started(self, task: TaskInfo) -> None:
        """Keep it."""
        self._task("started", task)

    def pgflow_task_completed(self, task: TaskInfo) -> None:
        """Keep it."""
        self._task("completed", task)

    def pgflow_task_timed_out(self, task: TaskInfo) -> None:
        """Keep it."""
        self._task("timed_out", task)

    def pgflow_task_retried(self, task: TaskInfo) -> None:
        """Keep it."""
        self._task("retried", task)

    def pgflow_task_failed(self, task: TaskInfo) -> None:
        """Keep it."""
        self._task("failed", task)

    def pgflow_step_completed(self, step: StepInfo) -> None:
        """Keep it."""
        self._step("completed", step)

    def pgflow_step_failed(self, step: StepInfo) -> None:
        """Keep it."""
        self._step("failed", step)

    def pgflow_step_skipped(self, step: StepInfo) -> None:
        """Keep it."""
        self._step("skipped", step)

    def pgflow_run_started(self, run: RunInfo) -> None:
        """Keep it."""
        self._run("started", run)

    def pgflow_run_completed(self, run: RunInfo) -> None:
        """Keep it."""
        self._run("completed", run)

    def pgflow_run_failed(self, run: RunInfo) -> None:
        """Keep it."""
        self._run("failed", run)


def with_log(plugins: Sequence[object]) -> tuple[Plugins, EventLog]:
    """Return the plugins of a test, and no installed ones, with a log besides."""
    log = EventLog()
    return Plugins.load([*plugins, log], installed=False), log
