"""Where a pool answers what the tasks in its children ask for, and takes what they report.

An answer may take a while: the database is asked. The child's loop or handler waits for it, nothing else does. A task
that has ended meanwhile gets none.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

from pgflow_mp.errors import PgflowError
from pgflow_mp.executors.process.wire import Kind, pack
from pgflow_mp.executors.services import DSN

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow_mp.executors.base import Errands, TaskCall
    from pgflow_mp.executors.process.port import Port

logger = logging.getLogger("pgflow_mp.pool")

SERVED = (Kind.ASK, Kind.PROGRESS)

_HERE, _REFUSED = b"here", b"refused"


class Desk:
    """Serves the children of a pool.

    Args:
        errands: Does what they ask; None where nobody is there to do it.
    """

    def __init__(self, errands: Errands | None) -> None:
        self._errands = errands
        self._answering: set[asyncio.Task[None]] = set()

    def serve(
        self, child: Port, number: int, call: TaskCall, frame: tuple[int, bytes], still: Callable[[], bool]
    ) -> None:
        """Take a report, or begin to answer a question.

        Args:
            child: Who asks.
            number: For which task.
            call: That task.
            frame: Kind and payload.
            still: Whether the child still has that task.
        """
        kind, payload = frame
        if kind == Kind.PROGRESS:
            if self._errands is not None:
                self._errands.progress(call, *json.loads(payload))
            return
        task = asyncio.get_running_loop().create_task(self._answer(child, number, call, payload.decode(), still))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, child: Port, number: int, call: TaskCall, question: str, still: Callable[[], bool]) -> None:
        try:
            fate, answer = _HERE, await self._find(call, question)
        except Exception as error:  # noqa: BLE001 - the task is told, and fails with it if it likes
            fate, answer = _REFUSED, f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace")
        if still():
            child.send(pack(Kind.ANSWER, number, b"\n".join((question.encode(), fate, answer))))

    async def _find(self, call: TaskCall, question: str) -> bytes:
        if self._errands is None:
            raise LookupError(f"there is no worker here that could tell the {question}")
        return self._errands.dsn.encode() if question == DSN else await self._errands.flow_input(call)


def question_of(payload: bytes) -> str:
    """Return what an ANSWER is the answer to (the child's side)."""
    return payload.partition(b"\n")[0].decode()


def read_answer(payload: bytes) -> bytes:
    """Return what was asked for (the child's side).

    Raises:
        PgflowError: It could not be had; the text is the worker's.
    """
    question, fate, answer = payload.split(b"\n", 2)
    if fate == _REFUSED:
        raise PgflowError(f"the worker could not tell the {question.decode()}: {answer.decode()}")
    return answer
