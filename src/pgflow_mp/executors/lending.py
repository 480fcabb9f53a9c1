"""Connections for handlers, lent by the process that runs them, kept for the next who asks.

A child opens one when a handler first asks (`ctx.connection()`), and no earlier: a worker whose steps ask for none has
no connection but its own. What comes back is made as new: a transaction that the handler left open is rolled back, and
before somebody else gets it, `DISCARD ALL` takes away what the session remembers (settings, temporary tables, locks,
LISTEN), which also shows whether the server is still there. Autocommit is on: a transaction is
``with conn.transaction():``, and behind a pooler in transaction mode everything else is none. Nothing is prepared
there either.

A connection is never shared by two who use it at once, and never by a process that a handler has forked.
"""

from __future__ import annotations

import os
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    import psycopg

MOST_IDLE: Final = 4
"""Connections that are kept for later; those beyond are closed when they come back."""

_RESET: Final = "DISCARD ALL"


class Lender:
    """Lends blocking connections; threads may share it.

    Args:
        dsn: Tells where the database is; asked when the first connection is opened.
    """

    def __init__(self, dsn: Callable[[], str]) -> None:
        self._dsn = dsn
        self._idle: list[psycopg.Connection[Any]] = []
        self._owner = os.getpid()
        self._lock = threading.Lock()

    @contextmanager
    def lend(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend a connection for the block.

        Raises:
            DatabaseUnreachable: None can be had.
        """
        connection = self._take()
        try:
            yield connection
        finally:
            self._put_back(connection)

    def close(self) -> None:
        """Close those that nobody has."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> psycopg.Connection[Any]:
        import psycopg  # 80 ms that only handlers with a connection spend

        from pgflow_mp.connecting import connect

        while (connection := self._kept()) is not None:
            try:
                connection.execute(_RESET)
            except psycopg.Error:  # the server has gone meanwhile
                connection.close()
            else:
                return connection
        return connect(self._dsn(), purpose="task")

    def _kept(self) -> psycopg.Connection[Any] | None:
        with self._lock:
            if self._owner != os.getpid():  # forked: these are the other process's
                self._owner, self._idle = os.getpid(), []
            return self._idle.pop() if self._idle else None

    def _put_back(self, connection: psycopg.Connection[Any]) -> None:
        with suppress(Exception):  # whatever is wrong with it, it is not kept
            connection.rollback()
            _make_as_new(connection)
            connection.autocommit = True
            with self._lock:
                if not connection.closed and self._owner == os.getpid() and len(self._idle) < MOST_IDLE:
                    self._idle.append(connection)
                    return
        connection.close()


class AsyncLender:
    """Lends awaited connections.

    Args:
        dsn: Tells where the database is; asked when the first connection is opened.
        keeps: Whether there is one loop that goes on when a task has ended; else none is kept.
    """

    def __init__(self, dsn: Callable[[], Awaitable[str]], *, keeps: bool = False) -> None:
        self._dsn = dsn
        self._most_idle = MOST_IDLE if keeps else 0
        self._idle: list[psycopg.AsyncConnection[Any]] = []

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Lend a connection for the block.

        Raises:
            DatabaseUnreachable: None can be had.
        """
        connection = await self._take()
        try:
            yield connection
        finally:
            await self._put_back(connection)

    async def close(self) -> None:
        """Close those that nobody has."""
        while self._idle:
            await self._idle.pop().close()

    async def _take(self) -> psycopg.AsyncConnection[Any]:
        import psycopg

        from pgflow_mp.connecting import connect_async

        while self._idle:
            connection = self._idle.pop()
            try:
                await connection.execute(_RESET)
            except psycopg.Error:
                await connection.close()
            else:
                return connection
        return await connect_async(await self._dsn(), purpose="task")

    async def _put_back(self, connection: psycopg.AsyncConnection[Any]) -> None:
        with suppress(Exception):
            await connection.rollback()
            _make_as_new(connection)
            await connection.set_autocommit(True)
            if not connection.closed and len(self._idle) < self._most_idle:
                self._idle.append(connection)
                return
        await connection.close()


def _make_as_new(connection: Any) -> None:
    """Take back what a handler may have set on the object itself."""
    from psycopg.rows import tuple_row

    connection.row_factory = tuple_row
