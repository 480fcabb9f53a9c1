"""The executors of a worker as one: each call goes to the one that its step asks for.

Only those that some step needs are started, so a worker without async steps has no event loops, and one with nothing
else has no process children. What their rooms allow to claim is the business of the engine: each executor has a
room of its own, so a full one keeps no task of another waiting.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from pgflow_mp.definition import ExecutorName, FlowDefinition
    from pgflow_mp.executors.base import Executor, TaskCall
    from pgflow_mp.executors.status import ExecutorStatus


class Fleet:
    """Several executors.

    Args:
        makers: How each kind of executor is made; its callbacks are already in it.
    """

    def __init__(self, makers: Mapping[ExecutorName, Callable[[], Executor]]) -> None:
        self._makers = makers
        self._running: dict[ExecutorName, Executor] = {}
        self._closing = False

    @property
    def size(self) -> int:
        """How many calls can run at once in all executors that are up."""
        return sum(executor.size for executor in self._running.values())

    @property
    def free(self) -> int:
        """How many more calls would start at once, in whichever executor."""
        return sum(max(executor.free, 0) for executor in self._running.values())

    def size_of(self, kind: ExecutorName) -> int:
        """How many calls can run at once in one kind of executor; 0 where it is not up."""
        executor = self._running.get(kind)
        return 0 if executor is None else executor.size

    async def start(self, kinds: Iterable[ExecutorName]) -> None:
        """Start those of these kinds that are not up yet.

        Raises:
            PoolBroken: The children of one of them cannot start.
        """
        for kind in kinds:
            if kind not in self._running and not self._closing:
                executor = self._makers[kind]()
                await executor.start()
                self._running[kind] = executor

    def submit(self, call: TaskCall) -> None:
        """Run the call where its step says, now or when there is room.

        Raises:
            PoolBroken: The executor is broken; the call was not taken.
            KeyError: No such executor was started.
        """
        self._running[call.step.runs_in].submit(call)

    def take_back(self, older_than: float) -> list[TaskCall]:
        """Give back the calls that have waited `older_than` seconds unstarted (D-27)."""
        return [call for executor in self._running.values() for call in executor.take_back(older_than)]

    def calls(self) -> list[TaskCall]:
        """Return the calls that the executors have, running or waiting."""
        return [call for executor in self._running.values() for call in executor.calls()]

    def cancel(self, call: TaskCall) -> None:
        """End a call whose result is not wanted; see `Executor.cancel`."""
        self._running[call.step.runs_in].cancel(call)

    def reload(self) -> None:
        """Use the code as it is now from the next call on; no call is lost."""
        for executor in self._running.values():
            executor.reload()

    def status(self) -> dict[ExecutorName, ExecutorStatus]:
        """Tell what each executor that is up is doing."""
        return {kind: executor.status() for kind, executor in self._running.items()}

    async def close(self, grace: float) -> list[TaskCall]:
        """Let running calls finish for up to `grace` seconds, end all, return what did not finish."""
        self._closing = True
        unfinished = await asyncio.gather(*(executor.close(grace) for executor in self._running.values()))
        return [call for calls in unfinished for call in calls]


def kinds_of(flows: Collection[FlowDefinition]) -> list[ExecutorName]:
    """Return the executors that the steps of these flows need."""
    return list(dict.fromkeys(step.runs_in for flow in flows for step in flow.steps))
