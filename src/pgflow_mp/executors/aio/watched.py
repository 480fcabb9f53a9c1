"""Which task of a flow does this code belong to? Known for every coroutine that a handler starts.

A context variable holds the number of the task; what a handler starts (`gather`, a `TaskGroup`, `to_thread`)
inherits it, as any context variable. The loop's task factory notes the asyncio tasks that are made under a number,
so that a deadline reaches all of them, and wraps their coroutines, so that the parent can see whose code a blocked
loop is stuck in (`process.progress`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Generator

    from pgflow_mp.executors.process.progress import Board

NUMBER: ContextVar[int] = ContextVar("pgflow_mp_task_number", default=0)
"""The task whose code runs; 0 outside of any."""

CANCEL_PATIENCE = 0.5
"""Seconds that a cancelled task has for its cleanup."""


class Watched(Coroutine[Any, Any, Any]):
    """A coroutine that tells when its code runs; in all else the one inside."""

    __slots__ = ("_board", "_inner", "_number")

    def __init__(self, inner: Coroutine[Any, Any, Any], number: int, board: Board) -> None:
        self._inner = inner
        self._number = number
        self._board = board

    def send(self, value: Any) -> Any:
        """Go on with the coroutine."""
        self._board.enter(self._number)
        try:
            return self._inner.send(value)
        finally:
            self._board.leave()

    def throw(self, *error: Any) -> Any:
        """Go on with the coroutine by raising in it."""
        self._board.enter(self._number)
        try:
            return self._inner.throw(*error)
        finally:
            self._board.leave()

    def close(self) -> None:
        """End the coroutine."""
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # cr_frame, cr_await and the like: what debuggers ask


class Families:
    """The asyncio tasks that belong to each task of a flow."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._members: dict[int, WeakSet[asyncio.Task[Any]]] = {}

    def make(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """Make an asyncio task (the loop's task factory)."""
        context: Context | None = options.get("context")
        number = NUMBER.get() if context is None else context.get(NUMBER, 0)
        members = self._members.get(number)
        if members is None:  # nobody's, or left over from a task that has ended
            return asyncio.Task(coro, loop=loop, **options)
        task = asyncio.Task(Watched(coro, number, self._board), loop=loop, **options)
        members.add(task)
        return task

    def begin(self, number: int) -> None:
        """A task begins."""
        self._members[number] = WeakSet()

    def end(self, number: int) -> None:
        """It has ended; what it may have left running belongs to nobody from now on."""
        self._members.pop(number, None)

    def living(self, number: int) -> list[asyncio.Task[Any]]:
        """Return the task's asyncio tasks that have not ended."""
        return [task for task in self._members.get(number, ()) if not task.done()]
