"""`run.events`: what hooks saw of a run, as plain tuples that a test compares."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakSet

from pgflow_mp.hooks.manager import Plugins

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from pgflow_mp.hooks.events import RunInfo, StepInfo, TaskInfo

Event: TypeAlias = tuple[str | int, ...]
"""``("run_completed",)``, ``("step_skipped", "audit")``; ``("task_failed", "pay", 0, 3)``."""


class _Ear:
    """A plugin that hears of runs, steps and tasks, and hands on each event in words."""

    def keep(self, run_id: UUID, event: Event) -> None:
        """Do with an event what this one is for."""
        raise NotImplementedError

    def _task(self, verb: str, task: TaskInfo) -> None:
        self.keep(task.run_id, (f"task_{verb}", task.step_slug, task.task_index, task.attempt))

    def _step(self, verb: str, step: StepInfo) -> None:
        self.keep(step.run_id, (f"step_{verb}", step.step_slug))

    def _run(self, verb: str, run: RunInfo) -> None:
        self.keep(run.run_id, (f"run_{verb}",))

    def pgflow_task_started(self, task: TaskInfo) -> None:
        """Tell it."""
        self._task("started", task)

    def pgflow_task_completed(self, task: TaskInfo) -> None:
        """Tell it."""
        self._task("completed", task)

    def pgflow_task_timed_out(self, task: TaskInfo) -> None:
        """Tell it."""
        self._task("timed_out", task)

    def pgflow_task_retried(self, task: TaskInfo) -> None:
        """Tell it."""
        self._task("retried", task)

    def pgflow_task_failed(self, task: TaskInfo) -> None:
        """Tell it."""
        self._task("failed", task)

    def pgflow_step_completed(self, step: StepInfo) -> None:
        """Tell it."""
        self._step("completed", step)

    def pgflow_step_failed(self, step: StepInfo) -> None:
        """Tell it."""
        self._step("failed", step)

    def pgflow_step_skipped(self, step: StepInfo) -> None:
        """Tell it."""
        self._step("skipped", step)

    def pgflow_run_started(self, run: RunInfo) -> None:
        """Tell it."""
        self._run("started", run)

    def pgflow_run_completed(self, run: RunInfo) -> None:
        """Tell it."""
        self._run("completed", run)

    def pgflow_run_failed(self, run: RunInfo) -> None:
        """Tell it."""
        self._run("failed", run)


class EventLog(_Ear):
    """Keeps what is told of each run, in order."""

    def __init__(self) -> None:
        self._events: list[tuple[UUID, Event]] = []

    def keep(self, run_id: UUID, event: Event) -> None:
        """Remember it."""
        self._events.append((run_id, event))

    def of(self, run_id: UUID) -> tuple[Event, ...]:
        """Return what was told of a run."""
        return tuple(event for about, event in self._events if about == run_id)

    def heard_by(self, plugins: Sequence[object]) -> Plugins:
        """Return these plugins of a test, and no installed ones, with the log besides."""
        if plugins:
            return Plugins.load([*plugins, self], installed=False)
        found, relay = _relay()
        relay.logs.add(self)
        return found

    def close(self) -> None:
        """Hear nothing any more."""
        _relay()[1].logs.discard(self)


class _Relay(_Ear):
    """Hands on to the logs of all tests that are under way: to check and register a plugin takes 5 ms."""

    def __init__(self) -> None:
        self.logs: WeakSet[EventLog] = WeakSet()

    def keep(self, run_id: UUID, event: Event) -> None:
        """Hand it on."""
        for log in tuple(self.logs):
            log.keep(run_id, event)


@functools.cache
def _relay() -> tuple[Plugins, _Relay]:
    relay = _Relay()
    return Plugins.load([relay], installed=False), relay
