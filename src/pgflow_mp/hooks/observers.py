"""Telling the observers, where nobody waits for them.

A worker puts what has happened into a queue and goes on; a thread takes it out and calls the plugins. The queue has a
limit: when observers are slower than events come, the newest are dropped, which is logged and told
(`pgflow_events_dropped`) as soon as there is room again. An observer that raises is logged with its plugin's name, and
the others hear of the event all the same.

Without a worker (a client, a test's inline run) the caller's thread calls the plugins: `Direct`.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from pgflow_mp.hooks.events import StepInfo
from pgflow_mp.hooks.specs import OBSERVERS

if TYPE_CHECKING:
    from datetime import datetime

    from pgflow_mp.definition import FlowDefinition
    from pgflow_mp.hooks.events import RunInfo
    from pgflow_mp.hooks.manager import Plugins
    from pgflow_mp.results import Run, StepState

logger = logging.getLogger("pgflow_mp.hooks")

_LOOK_SECONDS = 0.005

MOST_EVENTS = 10_000
"""How many events may wait for the observers of a process."""


class Observers(Protocol):
    """Whoever is told what happens.

    Attributes:
        heard: The hooks that some plugin implements; nothing else needs to be told, or found out.
    """

    heard: frozenset[str]

    def tell(self, hook: str, /, **event: Any) -> None:
        """Tell an event; never raises what an observer raises."""
        ...


STEP_ENDS = frozenset({"pgflow_step_completed", "pgflow_step_failed", "pgflow_step_skipped"})


def wants_states(observers: Observers, status: str, flow: FlowDefinition | None = None) -> bool:
    """Whether `tell_started` needs the states of a run's steps: somebody hears of ends that its start may have brought.

    Args:
        observers: Whom to tell.
        status: The run's status after its start.
        flow: Its definition, where that is known: only roots with a condition, or over an array, end at the start.
    """
    if status == "failed" and "pgflow_run_failed" in observers.heard:
        return True
    may_end = flow is None or any(not step.deps and (step.is_map or step.when or step.unless) for step in flow.steps)
    return may_end and not observers.heard.isdisjoint(STEP_ENDS)


def tell_started(
    observers: Observers, run: RunInfo, status: str, ended_at: datetime | None, states: Run | None = None
) -> None:
    """Tell of a run that was started, of the steps that ended with its start, and of its own end, if it ended too.

    Args:
        observers: Whom to tell.
        run: The run as it was started.
        status: The run's status after its start.
        ended_at: When it ended; None while it goes on.
        states: The run with its steps, read after the start; None where nobody wants to hear of them.
    """
    observers.tell("pgflow_run_started", run=run)
    for state in () if states is None else states.steps.values():
        # Whatever ended in the transaction of the start has its time; what ended since is told by others.
        if run.started_at in (state.completed_at, state.failed_at, state.skipped_at):
            _tell_end(observers, StepInfo(run.flow_slug, run.run_id, state.slug), state)
    ended = replace(run, ended_at=ended_at)
    if status == "completed":
        observers.tell("pgflow_run_completed", run=ended)
    elif status == "failed":
        observers.tell("pgflow_run_failed", run=ended, error=(states and states.error) or "")


def _tell_end(observers: Observers, step: StepInfo, state: StepState) -> None:
    if state.status == "completed":
        observers.tell("pgflow_step_completed", step=step)
    elif state.status == "skipped":
        observers.tell("pgflow_step_skipped", step=step, reason=state.skip_reason or "")
    elif state.status == "failed":
        observers.tell("pgflow_step_failed", step=step, error=state.error or "")


class Direct:
    """Calls the plugins in the thread of the caller."""

    def __init__(self, plugins: Plugins) -> None:
        self.heard = plugins.heard.intersection(OBSERVERS)
        # Others, such as a test's own failure or a Ctrl-C, are for the caller.
        self._delivery = _Delivery(plugins, (Exception, SystemExit))

    def tell(self, hook: str, /, **event: Any) -> None:
        """Tell an event, now."""
        if hook in self.heard:
            self._delivery.deliver(hook, event)


class Background:
    """Calls the plugins in a thread of its own.

    Args:
        plugins: The plugins.
        most: How many events may wait.

    Attributes:
        dropped: How many events were dropped since the beginning.
    """

    def __init__(self, plugins: Plugins, *, most: int = MOST_EVENTS) -> None:
        self.heard = plugins.heard.intersection(OBSERVERS)
        self.dropped = 0
        self._untold = 0
        self._most = most
        self._delivery = _Delivery(plugins, (BaseException,))
        self._events: queue.SimpleQueue[tuple[str, dict[str, Any]] | None] = queue.SimpleQueue()
        # Started by the first event: a worker that never runs leaves no thread behind.
        self._thread = threading.Thread(target=self._run, name="pgflow-mp hooks", daemon=True)

    def tell(self, hook: str, /, **event: Any) -> None:
        """Have an event told soon; where too many wait, drop it and count it. One thread at a time may tell."""
        if hook not in self.heard:
            return
        if self.waiting >= self._most:
            self._drop()
            return
        if self._untold:
            self._tell_dropped()
        if self._thread.ident is None:
            self._thread.start()
        self._events.put((hook, event))

    @property
    def waiting(self) -> int:
        """How many events wait to be told."""
        return self._events.qsize()

    async def close(self, seconds: float) -> bool:
        """Have everything told that waits, for up to so many seconds; return whether all was."""
        if self._thread.ident is None:
            return True
        if self._untold:
            self._tell_dropped()
        self._events.put(None)
        until = time.monotonic() + seconds
        while self._thread.is_alive():
            if time.monotonic() > until:
                logger.warning("observers are not done after %g s; %d events are not told", seconds, self.waiting)
                return False
            # Not a join in another thread: an interpreter that is ending starts none any more.
            await asyncio.sleep(_LOOK_SECONDS)
        return True

    def _drop(self) -> None:
        if not self._untold:
            logger.warning("observers are slower than events come: %d wait, the next are dropped", self._most)
        self._untold += 1
        self.dropped += 1

    def _tell_dropped(self) -> None:
        logger.warning("observers missed %d events", self._untold)
        if "pgflow_events_dropped" in self.heard:
            self._events.put(("pgflow_events_dropped", {"count": self._untold}))
        self._untold = 0

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            self._delivery.deliver(*event)


class _Delivery:
    """Calls every plugin, whatever the others do."""

    def __init__(self, plugins: Plugins, catch: tuple[type[BaseException], ...]) -> None:
        self._plugins = plugins
        self._catch = catch
        self._failures: dict[tuple[str, str], int] = {}

    def deliver(self, hook: str, event: dict[str, Any]) -> None:
        for implementation in self._plugins.implementations(hook):
            try:
                implementation.call(event)
            except self._catch:
                # The first failures, then ever fewer: a broken plugin must not fill the disk.
                times = self._count(implementation.plugin, hook)
                if times <= 3 or str(times).strip("0") == "1":
                    logger.exception(
                        "plugin `%s` failed in %s (%d so far); the work goes on", implementation.plugin, hook, times
                    )

    def _count(self, plugin: str, hook: str) -> int:
        times = self._failures[plugin, hook] = self._failures.get((plugin, hook), 0) + 1
        return times
