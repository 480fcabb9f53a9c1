"""What stands behind `ctx`: the run's input on request, progress, a connection to the database.

A handler asks where it runs; the worker answers. In a child the question goes through the task pipe and the handler
waits for the answer; in a thread it goes to the worker's loop. Nothing is sent that nobody asks for: neither the
database's DSN, which holds a password, nor a large input that a step does not look at.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

from pgflow_mp.context import Services
from pgflow_mp.errors import PgflowError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    import psycopg

    from pgflow_mp.executors.base import Errands, TaskCall
    from pgflow_mp.executors.lending import AsyncLender, Lender

FLOW_INPUT: Final = "flow_input"
DSN: Final = "dsn"
"""What can be asked for."""

_REPORTS_AT_ONCE: Final = 20
_REPORTS_PER_SECOND: Final = 20.0


class Allowance:
    """How often a task may report: a few times at once, then so often a second; what is too much is dropped."""

    def __init__(self) -> None:
        self._left = float(_REPORTS_AT_ONCE)
        self._seen = time.monotonic()

    def take(self) -> bool:
        """Use one if there is one."""
        now = time.monotonic()
        self._left = min(_REPORTS_AT_ONCE, self._left + (now - self._seen) * _REPORTS_PER_SECOND)
        self._seen = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class TaskServices(Services):
    """The services of one attempt.

    Args:
        lender: Has blocking connections.
        async_lender: Has awaited ones.
        report: Takes progress to the worker.
        ask: Gets the run's input from the worker, as JSON text.
        flow_input: The run's input, where the claim sent it along.
        cancelled: Tells whether nobody wants the result any more; by default it never is so.
    """

    def __init__(
        self,
        lender: Lender,
        async_lender: AsyncLender,
        report: Callable[[float | None, str | None], None],
        ask: Callable[[], bytes],
        flow_input: bytes | None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self._lender = lender
        self._async_lender = async_lender
        self._report = report
        self._ask = ask
        self._flow_input = flow_input
        self._cancelled = cancelled
        self._allowance = Allowance()

    def flow_input(self) -> Any:
        """Return the run's input."""
        if self._flow_input is None:
            self._flow_input = self._ask()
        return json.loads(self._flow_input)

    def progress(self, fraction: float | None, message: str | None) -> None:
        """Report how far the task is."""
        if self._allowance.take():
            self._report(fraction, message)

    def cancelled(self) -> bool:
        """Return whether nobody wants the result any more."""
        return self._cancelled is not None and self._cancelled()

    def connection(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        """Lend a blocking connection."""
        return self._lender.lend()

    def async_connection(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        """Lend an awaited one."""
        return self._async_lender.lend()


def services_in_thread(
    loop: asyncio.AbstractEventLoop,
    errands: Errands | None,
    call: TaskCall,
    lenders: tuple[Lender, AsyncLender],
    cancelled: Callable[[], bool],
) -> TaskServices:
    """Return the services of a call that runs in a thread beside the worker's loop.

    Args:
        loop: The worker's.
        errands: Does what the task asks; None where nobody is there to do it.
        call: The call.
        lenders: Have connections.
        cancelled: Tells whether nobody wants the result any more.
    """

    def report(fraction: float | None, message: str | None) -> None:
        if errands is not None:
            loop.call_soon_threadsafe(errands.progress, call, fraction, message)

    def ask() -> bytes:
        if errands is None:
            raise PgflowError("there is no worker here that could tell the flow_input")
        return asyncio.run_coroutine_threadsafe(errands.flow_input(call), loop).result()

    return TaskServices(*lenders, report, ask, call.flow_input, cancelled)
