"""Runs that are to end, and runs that are to be repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.client.aio.reading import AsyncReading
from pgflow_mp.client.arguments import run_id_of
from pgflow_mp.client.telling import is_committed
from pgflow_mp.core.queries import runs
from pgflow_mp.errors import RunNotFound, RunNotRetryable
from pgflow_mp.ids import new_id

if TYPE_CHECKING:
    from uuid import UUID

    from pgflow_mp.client.joining import AsyncConn
    from pgflow_mp.results import Run


class AsyncControl(AsyncReading):
    """The operations that stop and repeat runs."""

    async def cancel_run(self, run_id: UUID | str, *, conn: AsyncConn | None = None) -> Run:
        """Cancel a run that is still going; return it as it is then, without its steps.

        Its status is `failed`, its error `Run cancelled`, and `cancelled` is true (D-20). Nothing of it starts any
        more, on whichever worker, of whatever language. What runs is stopped by our workers: a process is killed, a
        coroutine cancelled, a thread told (`ctx.cancelled`). A run that has ended stays as it is: `cancelled` of
        what is returned tells.

        Args:
            run_id: The run.
            conn: Join the transaction of this connection; workers learn of it when that commits.

        Raises:
            InvalidRunId: The text is no UUID.
            RunNotFound: There is no such run.
        """
        wanted = run_id_of(run_id)
        cancelled = await self._connections.run(runs.cancel_runs([wanted]), conn, doing="cancelling a run")
        run = await self._found(run_id, runs.get_run(wanted), conn)
        if cancelled and is_committed(conn):
            self._telling.cancelled(run)
        return run

    async def retry_run(self, run_id: UUID | str, *, from_failed: bool = False, conn: AsyncConn | None = None) -> UUID:
        """Start a new run that repeats one that has ended; return its id. Its `retry_of` names the run it repeats.

        Args:
            run_id: The run that has ended, well or not.
            from_failed: Begin with the steps that failed, or had not ended when the run failed or was cancelled: a
                step that completed is kept with its output, and so is one that was skipped by its condition, if
                what they depend on is kept as well. A map step is kept or repeated as a whole. Otherwise the whole
                flow runs again, with the same input.
            conn: Join the transaction of this connection.

        Raises:
            InvalidRunId: The text is no UUID.
            RunNotFound: There is no such run.
            RunNotRetryable: It is still going; or nothing of it failed, with `from_failed`.
        """
        new_run_id = new_id()
        statement = runs.retry_run(run_id_of(run_id), new_run_id, from_failed=from_failed)
        retried = await self._connections.run(statement, conn, doing="retrying a run")
        match retried.outcome:
            case "unknown":
                raise RunNotFound(f"there is no run {run_id} in this database")
            case "going":
                raise RunNotRetryable(f"run {run_id} is still going; wait for its end, or cancel it, then retry")
            case "completed":
                raise RunNotRetryable(
                    f"run {run_id} completed, nothing of it failed; to repeat all leave out from_failed"
                )
        if retried.run is not None:
            await self._tell(retried.flow_slug, retried.run, conn)
        return new_run_id
