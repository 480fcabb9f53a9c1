"""Waiting for a run to end.

The database announces finished runs (channel `pgflow_mp_runs`, one notification a transaction), so a waiting call
returns within milliseconds. The announcement is a hint and the row is the truth: the row is read first, after each
announcement that concerns the run, and at every poll interval, which also finds runs ended by something that does
not announce.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from pgflow_mp.core.queries.runs import get_run, get_run_with_states
from pgflow_mp.core.statement import execute_async
from pgflow_mp.errors import RunNotFound, RunTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from pgflow_mp.results import Run

RUNS_CHANNEL = "pgflow_mp_runs"


class AsyncRunWatch:
    """A connection that hears when runs end: start the run while it listens, then wait.

    It can be used again; between two uses it does not listen, for a listener that reads nothing holds up the
    notification queue of the whole server (PostgreSQL manual, NOTIFY).

    Args:
        connection: Its own from now on.
    """

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    @property
    def usable(self) -> bool:
        """Whether the connection still lives, as far as it is known."""
        return not (self._connection.closed or self._connection.broken)

    async def answers(self) -> bool:
        """Ask whether the server is still there."""
        try:
            await self._connection.execute("")
        except psycopg.Error:
            await self.close()
            return False
        return True

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Listen while the block lasts; yield the connection for the statement that starts the run."""
        await self._connection.execute(f"LISTEN {RUNS_CHANNEL}")
        try:
            yield self._connection
        finally:
            if self.usable:
                await self._connection.execute(f"UNLISTEN {RUNS_CHANNEL}")

    async def close(self) -> None:
        """End the connection."""
        await self._connection.close()

    async def wait(self, run_id: UUID, *, timeout: float, poll_interval: float) -> Run:  # noqa: ASYNC109 - of the API
        """Return the run with its steps once it is completed or failed.

        Args:
            run_id: The run.
            timeout: Seconds to wait at the most.
            poll_interval: Seconds between looks without an announcement.

        Raises:
            RunTimeout: The run goes on.
            RunNotFound: The run is gone: somebody deleted its flow.
        """
        deadline = time.monotonic() + timeout
        while True:
            run = await execute_async(self._connection, get_run(run_id))
            if run is None:
                raise RunNotFound(f"run {run_id} is no longer in the database: its flow was deleted or compiled anew")
            if run.ended:
                return await execute_async(self._connection, get_run_with_states(run_id)) or run
            left = deadline - time.monotonic()
            if left <= 0:
                raise RunTimeout(run_id)
            await self._hear(str(run_id), min(left, poll_interval))

    async def _hear(self, run_id: str, seconds: float) -> None:
        """Wait for an announcement of this run; an empty one says that the ids were too many to list."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            async for notification in self._connection.notifies(timeout=left, stop_after=1):
                if not notification.payload or run_id in notification.payload:
                    return
