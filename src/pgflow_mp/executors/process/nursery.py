"""Where children come from: started, greeted, replaced; given up when they cannot start.

A child that dies is replaced at once. One that dies before its first word, or says nothing for `start_timeout`,
is a failed start; three in a row break the pool, with the child's own words as the reason, because the fourth
would only repeat them. Where nobody knows how it ended, its fork server was killed under it, which says nothing about
the child: if children have started before, ten in a row are borne.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgflow_mp.errors import PgflowError
from pgflow_mp.executors.process.port import Port

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from pgflow_mp.executors.process.output import OutputSink
    from pgflow_mp.executors.process.port import Watcher

logger = logging.getLogger("pgflow_mp.pool")

MAX_FAILED_STARTS = 3
MAX_UNEXPLAINED_STARTS = 10
_PAUSE = 0.5  # seconds before the next try where the system, or a death without cause, says no


class PoolBroken(PgflowError):  # noqa: N818 - named for the fact, like those of `errors`
    """The pool cannot start its child processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How children are made.

    Attributes:
        method: "forkserver" or "spawn".
        preload: Modules that the fork server imports before it forks.
        setup: The first frame that each child gets.
        start_timeout: Seconds that a child has for its first word.
        module: What runs in a child: the `main` of this module.
    """

    method: str
    preload: tuple[str, ...]
    setup: bytes
    start_timeout: float
    module: str


class Nursery:
    """The children of a pool, from birth to burial.

    Args:
        loop: The pool's loop.
        recipe: How children are made.
        watcher: Hears what they say (the pool).
        sink: Gets what they print.
        on_broken: Called once, when no child can be started.

    Attributes:
        children: All that are not known to be dead.
        broken: Why no child can be started any more, if so.
        is_closed: No more children are wanted.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        recipe: Recipe,
        watcher: Watcher,
        sink: OutputSink,
        on_broken: Callable[[PoolBroken], None],
    ) -> None:
        self.children: set[Port] = set()
        self.broken: PoolBroken | None = None
        self.is_closed = False
        self._loop = loop
        self._recipe = recipe
        self._watcher = watcher
        self._sink = sink
        self._on_broken = on_broken
        self._failed_starts = 0  # in a row
        self._unexplained = 0  # of these
        self._have_started = False
        self._last_failure = -math.inf
        self._told: dict[str, str] = {}

    def spawn(self) -> None:
        """Start one more child."""
        if self.is_closed or self.broken is not None:
            return
        child = Port(self._loop, self._watcher, self._sink)
        try:
            child.start(self._recipe.method, self._recipe.preload, self._recipe.module)
        except (OSError, EOFError) as error:  # no room for a process; the fork server went away
            lost = isinstance(error, (EOFError, ConnectionError))
            self.failed(f"{type(error).__name__}: {error}", pause=True, explained=not lost)
            return
        self.children.add(child)
        child.set_timer(self._recipe.start_timeout, self._give_up)
        child.send(self._recipe.setup)

    def replace(self, *, pause: bool = False) -> None:
        """Start a child for one that ends, after a pause where hurry would only repeat a failure."""
        if pause:
            self._loop.call_later(_PAUSE, self.spawn)
        else:
            self.spawn()

    def greet(self, child: Port, hello: dict[str, Any]) -> None:
        """Take note of a child's first word."""
        child.pid = hello["pid"]
        child.stop_timer()
        self._failed_starts = self._unexplained = 0
        self._have_started = True
        for module, trouble in hello["preload_troubles"].items():
            if self._told.get(module) != trouble:
                self._told[module] = trouble
                logger.warning("%s in the fork server: %s", module, trouble)

    def bury(self, child: Port) -> None:
        """Forget a child that has ended."""
        self.children.discard(child)
        child.close()

    def failed(self, reason: str, *, began: float | None = None, pause: bool = False, explained: bool = True) -> None:
        """Count a failed start, and try again or break.

        Args:
            reason: What the child said, or what is known.
            began: When it was started (loop time). Children that were under way together when the last failure was
                met share its cause (their fork server was killed): only a start after it is another try.
            pause: Whether to wait before the next try.
            explained: Whether it is known how it ended.
        """
        if began is not None and began < self._last_failure:
            self.replace(pause=True)
            return
        self._last_failure = self._loop.time()
        self._failed_starts += 1
        self._unexplained += not explained
        if self._failed_starts < self._most_failed_starts:
            self.replace(pause=pause or not explained)
        elif self.broken is None and not self.is_closed:
            self.broken = PoolBroken(
                f"no child process can be started: {self._failed_starts} in a row ended before they were ready. "
                f"The last one: {reason}{self._hint}"
            )
            self._on_broken(self.broken)

    @property
    def _most_failed_starts(self) -> int:
        if self._have_started and self._unexplained == self._failed_starts:
            return MAX_UNEXPLAINED_STARTS
        return MAX_FAILED_STARTS

    @property
    def _hint(self) -> str:
        """Where to look, when it was not the children that said no."""
        if not self._recipe.preload or self._unexplained < self._failed_starts:
            return ""
        return (
            f". Most likely their fork server ended while it imported {', '.join(self._recipe.preload)}; "
            f"what it said is on stderr, above"
        )

    def close(self) -> None:
        """End what is left, without a word."""
        self.is_closed = True
        for child in self.children.copy():
            child.kill()
            self.bury(child)

    def _give_up(self, child: Port) -> None:
        child.kill()
        tail = child.output.tail
        self.bury(child)
        self.failed(f"it did not report within {self._recipe.start_timeout:g} s\n{tail}".strip(), began=child.began)
