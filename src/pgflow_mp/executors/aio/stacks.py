"""Where a waiting coroutine is: the chain of awaits, innermost first, as faulthandler would write it.

`asyncio.Task.get_stack` gives one frame of a suspended task, the outermost. The line that matters is at the other
end of the chain of `cr_await`. Where the chain ends at another asyncio task (gather, a TaskGroup), that task has
a chain of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgflow_mp.executors.process.deaths import user_stack

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator
    from types import FrameType

_MOST_TASKS = 5


def where(main: asyncio.Task[Any], others: Iterable[asyncio.Task[Any]]) -> str:
    """Return where a task is, and below it where the asyncio tasks are that it has started."""
    parts = [stack_of(main)]
    started = [stack_of(task) for task in others if task is not main]
    parts += [f"and, in a task that it has started:\n{stack}" for stack in started[:_MOST_TASKS]]
    if len(started) > _MOST_TASKS:
        parts.append(f"and {len(started) - _MOST_TASKS} more")
    return "\n".join(part for part in parts if part)


def stack_of(task: asyncio.Task[Any]) -> str:
    """Return the user's frames of a suspended asyncio task, innermost first."""
    lines = [
        f'  File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_name}'
        for frame in reversed(list(_frames(task.get_coro())))
    ]
    return user_stack("\n".join(lines))


def _frames(awaitable: Any) -> Iterator[FrameType]:
    while awaitable is not None:
        for kind in ("cr", "ag", "gi"):
            frame = getattr(awaitable, f"{kind}_frame", None)
            if frame is not None:
                yield frame
                awaitable = getattr(awaitable, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)
                break
        else:
            return
