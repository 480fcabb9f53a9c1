"""A database connection that comes back.

A worker keeps a few links, one for each kind of work, so that a slow settle delays neither a claim nor a
heartbeat. A link opens its connection when it is first used and drops it when it broke; whoever uses the link
decides whether to try again. Statements run in autocommit: each is a transaction of its own (core X-3).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import psycopg

from pgflow_mp.connecting import patience
from pgflow_mp.core.statement import execute_async

if TYPE_CHECKING:
    from pgflow_mp.core.statement import Statement

T = TypeVar("T")

# What a broken or refused connection raises; anything else is the statement's own fault.
LOST = (psycopg.OperationalError, psycopg.InterfaceError, OSError)


class Link:
    """One autocommit connection, opened on demand and reopened after it broke."""

    def __init__(self, dsn: str, purpose: str) -> None:
        self._dsn = dsn
        self._purpose = purpose
        self._connection: psycopg.AsyncConnection[tuple[object, ...]] | None = None
        self._turn = asyncio.Lock()

    async def run(self, statement: Statement[T]) -> T:
        """Execute one statement; a broken connection raises one of `LOST` and is replaced at the next call."""
        async with self._turn:
            connection = await self.connection()
            try:
                return await execute_async(connection, statement)
            except BaseException:
                # Cancelled in flight or broken: what the server thinks of this connection is unknown.
                if connection.broken or connection.closed or asyncio.current_task().cancelling():  # type: ignore[union-attr]
                    await self.close()
                raise

    async def connection(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        """Return the open connection, or open one."""
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                application_name=f"pgflow-mp {self._purpose}",
                connect_timeout=patience(self._dsn),
            )
        return self._connection

    async def close(self) -> None:
        """Close the connection if there is one; the link may be used again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
