"""Reading runs: one, with or without its steps, or a list of them, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from pgflow_mp.client.aio.face import AsyncFace
from pgflow_mp.client.arguments import NO_INPUT, FlowRef, page_size, run_filter, run_id_of, with_typed_output
from pgflow_mp.client.pages import RunPage, place_after
from pgflow_mp.core.queries import runs
from pgflow_mp.errors import RunNotFound
from pgflow_mp.flow import as_definition

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from pgflow_mp.client.arguments import RunStatus
    from pgflow_mp.client.joining import AsyncConn
    from pgflow_mp.core.statement import Statement
    from pgflow_mp.flow import Flow, OutputT
    from pgflow_mp.results import Run


class AsyncReading(AsyncFace):
    """The operations that read runs."""

    @overload
    async def get_run(
        self, run_id: UUID | str, *, flow: type[Flow[Any, OutputT]], conn: AsyncConn | None = None
    ) -> Run[OutputT | None]: ...
    @overload
    async def get_run(self, run_id: UUID | str, *, flow: None = None, conn: AsyncConn | None = None) -> Run: ...
    async def get_run(
        self, run_id: UUID | str, *, flow: type[Flow[Any, Any]] | None = None, conn: AsyncConn | None = None
    ) -> Run:
        """Return the run, without its steps.

        Args:
            run_id: The run.
            flow: Its class, where its output is to be of the type that `Flow[..., output]` says.
            conn: Join the transaction of this connection.

        Raises:
            InvalidRunId: The text is no UUID.
            RunNotFound: There is no such run.
            OutputError: The output is not of the type that the flow says.
        """
        return with_typed_output(
            await self._found(run_id, runs.get_run(run_id_of(run_id)), conn),
            None if flow is None else as_definition(flow),
        )

    @overload
    async def get_run_with_states(
        self, run_id: UUID | str, *, flow: type[Flow[Any, OutputT]], conn: AsyncConn | None = None
    ) -> Run[OutputT | None]: ...
    @overload
    async def get_run_with_states(
        self, run_id: UUID | str, *, flow: None = None, conn: AsyncConn | None = None
    ) -> Run: ...
    async def get_run_with_states(
        self, run_id: UUID | str, *, flow: type[Flow[Any, Any]] | None = None, conn: AsyncConn | None = None
    ) -> Run:
        """Return the run with its step states and their tasks.

        Args and errors are those of `get_run`.
        """
        return with_typed_output(
            await self._found(run_id, runs.get_run_with_states(run_id_of(run_id)), conn),
            None if flow is None else as_definition(flow),
        )

    async def list_runs(
        self,
        *,
        flow: FlowRef | Sequence[FlowRef] | None = None,
        status: RunStatus | Sequence[RunStatus] | None = None,
        cancelled: bool | None = None,
        started_after: datetime | None = None,
        started_before: datetime | None = None,
        input_contains: object = NO_INPUT,
        after: str | None = None,
        limit: int = 50,
        conn: AsyncConn | None = None,
    ) -> RunPage:
        """Return runs that meet all conditions, the latest first, without their steps.

        A page of one flow's runs is read from an index; conditions on status and input are tested run by run.

        Args:
            flow: Of this flow, or of these.
            status: With this status, or one of these: `started`, `completed`, `failed`.
            cancelled: True: by `cancel_run` (their status is `failed`, D-20); False: not so.
            started_after: Started at this instant (an aware datetime) or later.
            started_before: Started earlier than this instant.
            input_contains: A JSON value that the input contains (``@>`` of jsonb), such as `{"customer": 7}`.
            after: `next` of the page before; the first page by default.
            limit: The most runs of a page, 1 to 1,000.
            conn: Read in the transaction of this connection.

        Returns:
            The runs as a sequence; its attribute `next` is `after` of the following page, or None.

        Raises:
            InvalidCursor: `after` was not `next` of a page.
            InvalidInput: A condition cannot be met by any run: no such status, a time without its zone, no JSON.
        """
        wanted = run_filter(flow, status, cancelled, started_after, started_before, input_contains)
        limit = page_size(limit)
        statement = runs.list_runs(wanted, limit + 1, place_after(after))
        found = await self._connections.run(statement, conn, doing="listing runs")
        return RunPage.of(found, limit)

    async def _found(self, run_id: UUID | str, statement: Statement[Run | None], conn: AsyncConn | None) -> Run:
        run = await self._connections.run(statement, conn, doing="reading a run")
        if run is None:
            raise RunNotFound(f"there is no run {run_id} in this database")
        return run
