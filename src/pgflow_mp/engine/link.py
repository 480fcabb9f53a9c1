"""A database connection that comes back.

A worker keeps a few links, one for each kind of work, so that a slow settle delays neither a claim nor a
heartbeat. A link opens its connection when it is first used and drops it when it broke; whoever uses the link
decides whether to try again. Statements run in autocommit: each is a transaction of its own (core X-3).

Every statement has a deadline. A connection whose other end has vanished without a word (a host that lost power, a
firewall that forgot it) looks open and answers never; the kernel notices after a quarter of an hour, or not at all
when a proxy stands between. At the deadline the link severs the connection, and the statement ends as on any
lost connection. TCP keepalives find the same out for connections that are idle.

Nothing is prepared on the server: that would save 0.07 ms of a claim or a settle (2 to 5 percent, measured), and a
statement prepared on one connection does not exist on the next one that a transaction-mode pooler hands out.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgflow_mp.connecting import patience
from pgflow_mp.core.statement import execute_async

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.core.statement import Statement

T = TypeVar("T")

# What a broken or refused connection raises; anything else is the statement's own fault.
LOST = (psycopg.OperationalError, psycopg.InterfaceError, OSError)

STATEMENT_SECONDS = 30.0
"""Longer than any statement of ours takes on a loaded server; a statement that is cut off is sent again."""

# A silent peer is given up after about 20 s, where the DSN does not say otherwise (tcp(7); libpq ignores these on
# Unix sockets).
_KEEPALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


class Link:
    """One autocommit connection, opened on demand and reopened after it broke.

    Args:
        dsn: The database.
        purpose: Shown in `pg_stat_activity.application_name` behind `pgflow-mp`.
        seconds: The deadline of a statement; `STATEMENT_SECONDS` by default.
        hears: Whether notifications are kept for whoever asks for them. A link for statements may get some that it
            did not ask for, behind a pooler; psycopg would keep them all.
    """

    def __init__(self, dsn: str, purpose: str, *, seconds: float | None = None, hears: bool = False) -> None:
        self._dsn = dsn
        self._purpose = purpose
        self._hears = hears
        self._seconds = STATEMENT_SECONDS if seconds is None else seconds
        self._connection: psycopg.AsyncConnection[tuple[object, ...]] | None = None
        self._turn = asyncio.Lock()

    async def run(self, statement: Statement[T]) -> T:
        """Execute one statement; a broken connection raises one of `LOST` and is replaced at the next call."""
        async with self._turn:
            connection = await self.connection()
            try:
                with severed_after(connection, self._seconds):
                    return await execute_async(connection, statement)
            except BaseException:
                # Cancelled in flight or broken: what the server thinks of this connection is unknown.
                if connection.broken or connection.closed or asyncio.current_task().cancelling():  # type: ignore[union-attr]
                    await self.close()
                raise

    async def connection(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        """Return the open connection, or open one."""
        if self._connection is None or self._connection.closed:
            try:
                # libpq's own limit counts from one answer of the server to the next: a limit for the whole as well.
                async with asyncio.timeout(self._seconds):
                    self._connection = await psycopg.AsyncConnection.connect(
                        self._dsn,
                        autocommit=True,
                        prepare_threshold=None,
                        application_name=f"pgflow-mp {self._purpose}",
                        connect_timeout=patience(self._dsn),
                        **_keepalive(self._dsn),
                    )
                if not self._hears:
                    self._connection.add_notify_handler(_ignore)
            except TimeoutError:
                raise psycopg.OperationalError(f"the database did not let us in within {self._seconds:g} s") from None
        return self._connection

    async def close(self) -> None:
        """Close the connection if there is one; the link may be used again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


@contextmanager
def severed_after(connection: psycopg.AsyncConnection[tuple[object, ...]], seconds: float) -> Iterator[None]:
    """Sever the connection if the block has not ended in so many seconds.

    Cancelling would not do: psycopg then asks the server to cancel the statement and waits for its answer, which is
    what this server does not give.
    """
    timer = asyncio.get_running_loop().call_later(seconds, sever, connection)
    try:
        yield
    finally:
        timer.cancel()


def sever(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
    """End the traffic on the connection's socket: whoever waits for it reads the end of the stream at once."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as shared:
        shared.shutdown(socket.SHUT_RDWR)


def _ignore(_: psycopg.Notify) -> None:
    pass


def _keepalive(dsn: str) -> dict[str, Any]:
    given = conninfo_to_dict(dsn)
    return {name: seconds for name, seconds in _KEEPALIVE.items() if name not in given}
