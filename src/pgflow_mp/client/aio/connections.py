"""The connections of an application object: a pool for its calls, and listening ones for calls that wait.

Nothing is opened before the first call. A statement that joins the caller's transaction uses neither.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg_pool import AsyncConnectionPool

from pgflow_mp.client.aio.watch import AsyncRunWatch
from pgflow_mp.client.joining import joined_async
from pgflow_mp.client.one_loop import OneLoop  # awaited only
from pgflow_mp.connecting import connect_async
from pgflow_mp.core.drift import made
from pgflow_mp.core.generation import probe
from pgflow_mp.core.refusals import not_installed, spoken
from pgflow_mp.core.statement import execute_async
from pgflow_mp.errors import NotInstalled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import psycopg

    from pgflow_mp.client.joining import AsyncConn
    from pgflow_mp.core.drift import Made
    from pgflow_mp.core.statement import Statement

T = TypeVar("T")

MOST_CONNECTIONS = 10


class AsyncConnections:
    """Runs statements, on connections of its own or on the caller's.

    Args:
        dsn: The database.
    """

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] | None = None
        self._watches: list[AsyncRunWatch] = []
        self._opening = asyncio.Lock()
        self._loop = OneLoop()  # awaited only

    async def run(self, statement: Statement[T], conn: AsyncConn | None = None, *, doing: str = "this call") -> T:
        """Run a statement and return what it reads.

        Args:
            statement: The statement.
            conn: Join the transaction of this connection; else the statement is a transaction of its own.
            doing: What is attempted, as the subject of a sentence.

        Raises:
            PgflowError: The database refuses, in the words of the API (`core/refusals`).
            psycopg.Error: Any other trouble of the database.
        """
        try:
            return await self._run(statement, doing, conn)
        except NotInstalled as error:
            if conn is not None:
                raise
            core = await self._run(probe(), doing)
            raise not_installed(core, await self._made() if core.installed else None) from error

    async def _made(self) -> Made | None:
        """What the functions were made for; None where those of another version do not tell."""
        try:
            return await self._run(made(), "asking what is installed")
        except NotInstalled:
            return None

    async def _run(self, statement: Statement[T], doing: str, conn: AsyncConn | None = None) -> T:
        with spoken(doing):
            if conn is not None:
                async with joined_async(conn) as theirs:
                    return await execute_async(theirs, statement)
            pool = await self._opened()
            async with pool.connection() as own:
                return await execute_async(own, statement)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[AsyncRunWatch]:
        """Lend a watch that listens: one that nobody uses, else a new one. As many calls may wait as callers like."""
        self._loop.check()  # awaited only
        async with self._opening:
            watch = self._watches.pop() if self._watches else None
        if watch is None or not await watch.listen():
            watch = AsyncRunWatch(await connect_async(self.dsn, purpose="wait"))
            await watch.listen()
        try:
            yield watch
        finally:
            await watch.unlisten()
            await self._keep(watch)

    async def close(self) -> None:
        """End the connections; the next call opens new ones."""
        async with self._opening:
            pool, self._pool = self._pool, None
            watches, self._watches = self._watches, []
        for watch in watches:
            await watch.close()
        if pool is not None:
            await pool.close()
        self._opening = asyncio.Lock()  # awaited only
        self._loop.leave()  # awaited only

    async def _keep(self, watch: AsyncRunWatch) -> None:
        async with self._opening:
            kept = watch.usable and len(self._watches) < MOST_CONNECTIONS
            if kept:
                self._watches.append(watch)
        if not kept:
            await watch.close()

    async def _opened(self) -> AsyncConnectionPool[psycopg.AsyncConnection[Any]]:
        self._loop.check()  # awaited only
        async with self._opening:
            if self._pool is None:
                # The pool would try in the background for half a minute; a wrong DSN is told at once.
                first = await connect_async(self.dsn)
                await first.close()
                pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] = AsyncConnectionPool(
                    self.dsn,
                    min_size=0,
                    max_size=MOST_CONNECTIONS,
                    open=False,
                    check=AsyncConnectionPool.check_connection,
                    kwargs={"autocommit": True, "prepare_threshold": None, "application_name": "pgflow-mp client"},
                    name="pgflow-mp",
                )
                await pool.open()
                self._pool = pool
            return self._pool
