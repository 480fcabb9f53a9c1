"""Deadlines of running calls: kept whatever the handler does, and told with the line it was at.

When the time is up, the child gets SIGUSR2, on which faulthandler writes its stack, also while C code holds the
GIL; then SIGKILL, for the signal may have ended the sleep or read that it hung in, and nothing weaker is sure.
There is no exception in the handler first: it would run the user's `except` blocks at an arbitrary point, and
could not interrupt C code.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pgflow_mp.executors.process.port import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow_mp.executors.process.port import Port

_DUMP_TIME = 0.5  # seconds that a child has at most to say where it is; it takes some milliseconds
_DUMP_POLL = 0.01


class Deadlines:
    """Kills children whose call is out of time.

    Args:
        on_killed: Called when a child was killed; its call is still on it.
    """

    def __init__(self, on_killed: Callable[[Port], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_killed = on_killed

    def watch(self, child: Port, deadline: float) -> None:
        """Have the deadline of the child's call kept.

        The timer of an earlier call will do, if it fires before: most calls end in time, and a timer made and
        cancelled for each of them would be a good part of what a call costs the parent.
        """
        child.deadline = deadline
        if child.timer is None or child.timer.when() > deadline:
            child.set_timer(deadline - self._loop.time(), self._check)

    def _check(self, child: Port) -> None:
        child.timer = None
        if child.state is not State.BUSY:
            return
        if self._loop.time() < child.deadline:
            self.watch(child, child.deadline)
        else:
            self.end(child)

    def end(self, child: Port) -> None:
        """Ask the child where it is, kill it, and tell."""
        child.state = State.EXPIRED
        child.ask_where()
        self._await_dump(child, self._loop.time() + _DUMP_TIME, "")

    def _await_dump(self, child: Port, until: float, seen: str) -> None:
        """Kill it as soon as it has said where it is: when its trace has not grown since the last look."""
        trace = child.trace()
        if (trace and trace == seen) or self._loop.time() > until:
            child.kill()
            self._on_killed(child)
        else:
            child.set_timer(_DUMP_POLL, lambda child: self._await_dump(child, until, trace))
