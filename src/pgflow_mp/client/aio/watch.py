"""Waiting for a run to end.

The database announces finished runs (channel `pgflow_mp_runs`, one notification a transaction), so a waiting call
returns within milliseconds. The announcement is a hint and the row is the truth: it is read after each announcement
that concerns the run, and at every poll interval, which also finds runs ended by something that does not announce.

Over a slow link the round trips count. There are three: listen; start the run; read it when it is announced, and listen
no more.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psycopg

from pgflow_mp.connecting import sentence_of
from pgflow_mp.core.queries.runs import get_run, get_run_with_states
from pgflow_mp.core.statement import execute_async, execute_behind_async
from pgflow_mp.errors import DatabaseUnreachable, RunNotFound, RunTimeout

if TYPE_CHECKING:
    from uuid import UUID

    from pgflow_mp.results import Run

RUNS_CHANNEL = "pgflow_mp_runs"
LISTEN, UNLISTEN = f"LISTEN {RUNS_CHANNEL}", f"UNLISTEN {RUNS_CHANNEL}"


class AsyncRunWatch:
    """A connection that hears when runs end: start the run while it listens, then wait.

    It can be used again; between two uses it does not listen, for a listener that reads nothing holds up the
    notification queue of the whole server (PostgreSQL manual, NOTIFY).

    Attributes:
        connection: Its own; for the statement that starts the run.
    """

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self.connection = connection
        self._listens = False

    @property
    def usable(self) -> bool:
        """Whether the connection still lives, as far as it is known."""
        return not (self.connection.closed or self.connection.broken)

    async def listen(self) -> bool:
        """Begin to listen; return False, and close, where the connection has died since it was last used.

        A round trip of its own: a start that goes out over a dead connection could not be told from one that was
        carried out.
        """
        try:
            await self.connection.execute(LISTEN)
        except psycopg.Error:
            await self.close()
            return False
        self._listens = True
        return True

    async def unlisten(self) -> None:
        """Listen no more; a connection that cannot be told so is closed."""
        if self._listens and self.usable:
            try:
                await self.connection.execute(UNLISTEN)
            except psycopg.Error:
                await self.close()
        self._listens = False

    async def close(self) -> None:
        """End the connection."""
        await self.connection.close()

    async def wait(self, run_id: UUID, *, timeout: float, poll_interval: float) -> Run:  # noqa: ASYNC109 - of the API
        """Return the run with its steps once it is completed or failed; it was started while this listened.

        Args:
            run_id: The run.
            timeout: Seconds to wait at the most.
            poll_interval: Seconds between looks without an announcement.

        Raises:
            RunTimeout: The run goes on.
            RunNotFound: The run is gone: somebody deleted its flow.
            DatabaseUnreachable: The connection was lost.
        """
        try:
            return await self._wait(run_id, timeout, poll_interval)
        except psycopg.OperationalError as error:
            raise DatabaseUnreachable(
                f"the connection was lost while waiting for run {run_id}, which goes on ({sentence_of(error)}); "
                "`wait_for_run` waits on, `get_run` tells how it ends"
            ) from error

    async def _wait(self, run_id: UUID, timeout: float, poll_interval: float) -> Run:  # noqa: ASYNC109
        deadline = time.monotonic() + timeout
        while True:
            announced = await self._hear(str(run_id), min(deadline - time.monotonic(), poll_interval))
            if announced:
                return await self._read_whole(run_id)
            run = _found(await execute_async(self.connection, get_run(run_id)), run_id)
            if run.ended:
                return await self._read_whole(run_id)
            if time.monotonic() >= deadline:
                raise RunTimeout(run_id)

    async def _read_whole(self, run_id: UUID) -> Run:
        """Read a run that has ended and its steps, and listen no more, in one round trip."""
        run = await execute_behind_async(self.connection, UNLISTEN, get_run_with_states(run_id))
        self._listens = False
        return _found(run, run_id)

    async def _hear(self, run_id: str, seconds: float) -> bool:
        """Wait for an announcement; return whether it names this run (an empty one: there were too many to list)."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            async for notification in self.connection.notifies(timeout=left, stop_after=1):
                if not notification.payload or run_id in notification.payload:
                    return bool(notification.payload)
        return False


def _found(run: Run | None, run_id: UUID) -> Run:
    if run is None:
        raise RunNotFound(f"run {run_id} is no longer in the database: its flow was deleted or compiled anew")
    return run
