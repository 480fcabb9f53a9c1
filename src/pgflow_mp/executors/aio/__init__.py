"""The async executor: `async def` steps share event loops, many at a time, each loop in a child process of its own.

`pool` hands calls to loops and ends a loop that is blocked; `child` is what runs there. `watched` says which task's
code a loop runs, `stacks` where a waiting coroutine is, `printing` whose a printed line is. The children themselves
are those of `executors.process`.
"""

from __future__ import annotations

from pgflow_mp.executors.aio.pool import LoopPool

__all__ = ["LoopPool"]
