"""Waiting for a run to end.

The database announces finished runs (channel `pgflow_mp_runs`, one notification a transaction), so a waiting call
returns within milliseconds. The announcement is a hint and the row is the truth: the row is read first, after each
announcement that concerns the run, and at every poll interval, which also finds runs ended by something that does
not announce.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

from pgflow_mp.core.connecting import connect
from pgflow_mp.core.queries.runs import get_run
from pgflow_mp.core.statement import execute
from pgflow_mp.errors import RunTimeout

if TYPE_CHECKING:
    from types import TracebackType
    from uuid import UUID

    import psycopg

    from pgflow_mp.results import Run

RUNS_CHANNEL = "pgflow_mp_runs"


class RunWatch:
    """A connection that hears when runs end; listen before the run starts, then wait for it."""

    def __init__(self, dsn: str) -> None:
        self._connection: psycopg.Connection[Any] = connect(dsn, purpose="wait")
        self._connection.execute(f"LISTEN {RUNS_CHANNEL}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._connection.close()

    def wait(self, run_id: UUID, *, timeout: float, poll_interval: float) -> Run:
        """Return the run once it is completed or failed.

        Args:
            run_id: The run.
            timeout: Seconds to wait at the most.
            poll_interval: Seconds between looks without an announcement.

        Raises:
            RunTimeout: The run goes on.
        """
        deadline = time.monotonic() + timeout
        while True:
            run = execute(self._connection, get_run(run_id))
            if run is not None and run.status != "started":
                return run
            left = deadline - time.monotonic()
            if left <= 0:
                raise RunTimeout(run_id)
            self._hear(str(run_id), min(left, poll_interval))

    def _hear(self, run_id: str, seconds: float) -> None:
        """Wait for an announcement of this run; an empty one says that the ids were too many to list."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for notification in self._connection.notifies(timeout=left, stop_after=1):
                if not notification.payload or run_id in notification.payload:
                    return
