"""Runs: start them, wait for them, read them.

`start_flow` never compiles: a flow that the database does not know is `FlowNotFound` (D-16).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from pgflow_mp.client.aio.face import AsyncFace
from pgflow_mp.client.arguments import (
    NO_INPUT,
    FlowRef,
    encoded_input,
    ids_for,
    page_size,
    run_filter,
    run_id_of,
    run_keys,
    slug_of,
    with_typed_output,
)
from pgflow_mp.client.pages import RunPage, place_after
from pgflow_mp.client.telling import is_committed
from pgflow_mp.core.queries import runs
from pgflow_mp.errors import PgflowError, RunFailed, RunNotFound, RunNotRetryable
from pgflow_mp.flow import as_definition
from pgflow_mp.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from pgflow_mp.client.arguments import RunStatus
    from pgflow_mp.client.joining import AsyncConn
    from pgflow_mp.core.statement import Statement
    from pgflow_mp.definition import FlowDefinition
    from pgflow_mp.flow import Flow, InputT, OutputT
    from pgflow_mp.results import Run


class AsyncRuns(AsyncFace):
    """The operations on runs."""

    @overload
    async def start_flow(
        self,
        flow: type[Flow[InputT, Any]],
        input: InputT = ...,
        *,
        run_id: UUID | None = None,
        idempotency_key: str | None = None,
        unique_while_running: bool = False,
        conn: AsyncConn | None = None,
    ) -> UUID: ...
    @overload
    async def start_flow(
        self,
        flow: FlowDefinition | str,
        input: object = NO_INPUT,
        *,
        run_id: UUID | None = None,
        idempotency_key: str | None = None,
        unique_while_running: bool = False,
        conn: AsyncConn | None = None,
    ) -> UUID: ...
    async def start_flow(
        self,
        flow: FlowRef,
        input: object = NO_INPUT,  # noqa: A002 - the contract's word (core 3.6)
        *,
        run_id: UUID | None = None,
        idempotency_key: str | None = None,
        unique_while_running: bool = False,
        conn: AsyncConn | None = None,
    ) -> UUID:
        """Start one run and return its id.

        Args:
            flow: The flow class, its definition, or its slug.
            input: A JSON value; `{}` by default, an array where the flow has a root map step (core 3.6.1).
            run_id: Use this id; a time-ordered one is made otherwise (D-9).
            idempotency_key: Start it once: where this key of this flow has started a run before, that run is returned
                and nothing is started, whatever the input. A key stands for its run as long as that is kept, until it
                is pruned or deleted (a retry of the run takes no key along).
            unique_while_running: The key stands for its run only while that is going. Without a key: start nothing
                while a run of the flow that was started like this is going, and return that.
            conn: Join the transaction of this connection.

        Raises:
            FlowNotFound: The database has no such flow: compile it first.
            InvalidInput: The input is no JSON, no array where one is needed, or not of the type that the flow takes.
        """
        started = await self.start_flows(
            flow,
            [input],
            run_ids=[run_id or new_id()],
            idempotency_keys=None if idempotency_key is None else [idempotency_key],
            unique_while_running=unique_while_running,
            conn=conn,
        )
        return started[0]

    @overload
    async def start_flows(
        self,
        flow: type[Flow[InputT, Any]],
        inputs: Sequence[InputT],
        *,
        run_ids: Sequence[UUID] | None = None,
        idempotency_keys: Sequence[str | None] | None = None,
        unique_while_running: bool = False,
        conn: AsyncConn | None = None,
    ) -> list[UUID]: ...
    @overload
    async def start_flows(
        self,
        flow: FlowDefinition | str,
        inputs: Sequence[object],
        *,
        run_ids: Sequence[UUID] | None = None,
        idempotency_keys: Sequence[str | None] | None = None,
        unique_while_running: bool = False,
        conn: AsyncConn | None = None,
    ) -> list[UUID]: ...
    async def start_flows(
        self,
        flow: FlowRef,
        inputs: Sequence[object],
        *,
        run_ids: Sequence[UUID] | None = None,
        idempotency_keys: Sequence[str | None] | None = None,
        unique_while_running: bool = False,
        conn: AsyncConn | None = None,
    ) -> list[UUID]:
        """Start one run for each input, all in one round trip and one transaction; return the ids in order.

        Args:
            flow: The flow class, its definition, or its slug.
            inputs: JSON values, as `start_flow` takes one; thousands are fine.
            run_ids: The id of each run; time-ordered ones are made otherwise (D-9).
            idempotency_keys: The key of each, or None for none; see `start_flow`. Of several inputs with one key the
                first counts.
            unique_while_running: As for `start_flow`.
            conn: Join the transaction of this connection.

        Raises:
            FlowNotFound: The database has no such flow: compile it first.
            InvalidInput: An input is no JSON, or no array where one is needed; then no run was started.
        """
        ids = ids_for(inputs, run_ids)
        slug, definition = slug_of(flow), self._known(flow)
        encoded = [encoded_input(value, definition) for value in inputs]
        keys = run_keys(idempotency_keys, count=len(ids), while_running=unique_while_running)
        statement = runs.start_once(slug, encoded, ids, keys) if keys else runs.start_flows(slug, encoded, ids)
        return await self._start(slug, ids, statement, conn, doing=f"starting flow `{slug}`")

    @overload
    async def start_flow_sync(
        self,
        flow: type[Flow[InputT, OutputT]],
        input: InputT = ...,
        *,
        timeout: float = 60,  # noqa: ASYNC109
        poll_interval: float = 0.5,
        idempotency_key: str | None = None,
        unique_while_running: bool = False,
        conn: None = None,
    ) -> Run[OutputT]: ...
    @overload
    async def start_flow_sync(
        self,
        flow: FlowDefinition | str,
        input: object = NO_INPUT,
        *,
        timeout: float = 60,  # noqa: ASYNC109
        poll_interval: float = 0.5,
        idempotency_key: str | None = None,
        unique_while_running: bool = False,
        conn: None = None,
    ) -> Run: ...
    async def start_flow_sync(
        self,
        flow: FlowRef,
        input: object = NO_INPUT,  # noqa: A002 - the contract's word (core 3.6)
        *,
        timeout: float = 60,  # noqa: ASYNC109 - the contract's word; what ends then is the wait, not the run
        poll_interval: float = 0.5,
        idempotency_key: str | None = None,
        unique_while_running: bool = False,
        conn: None = None,
    ) -> Run:
        """Start one run and wait until it is completed.

        Args:
            flow: The flow class, its definition, or its slug.
            input: A JSON value; `{}` by default.
            timeout: Seconds to wait at the most.
            poll_interval: Seconds between looks when no notification comes.
            idempotency_key: Start it once, as for `start_flow`; else wait for the run that this key has started.
            unique_while_running: As for `start_flow`.
            conn: Not possible here: a run inside an open transaction can never finish.

        Raises:
            RunFailed: The run failed; its attribute `run` tells all.
            RunTimeout: The run goes on; its attribute `run_id` names it.
            OutputError: It completed, but its output is not of the type that the flow says.
            FlowNotFound, InvalidInput: As for `start_flow`.
        """
        if conn is not None:
            raise PgflowError(
                "start_flow_sync cannot join a transaction: no worker sees the run before you commit; "
                "call start_flow(..., conn=conn), commit, then wait_for_run(...)"
            )
        async with self._connections.watching() as watch:
            started = await self.start_flows(
                flow,
                [input],
                idempotency_keys=None if idempotency_key is None else [idempotency_key],
                unique_while_running=unique_while_running,
                conn=watch.connection,
            )
            run = await watch.wait(started[0], timeout=timeout, poll_interval=poll_interval)
        return _ended_well(run, self._known(flow))

    @overload
    async def wait_for_run(
        self,
        run_id: UUID | str,
        *,
        flow: type[Flow[Any, OutputT]],
        timeout: float = 60,  # noqa: ASYNC109
        poll_interval: float = 0.5,
    ) -> Run[OutputT]: ...
    @overload
    async def wait_for_run(
        self,
        run_id: UUID | str,
        *,
        flow: None = None,
        timeout: float = 60,  # noqa: ASYNC109
        poll_interval: float = 0.5,
    ) -> Run: ...
    async def wait_for_run(
        self,
        run_id: UUID | str,
        *,
        flow: type[Flow[Any, Any]] | None = None,
        timeout: float = 60,  # noqa: ASYNC109 - as for `start_flow_sync`
        poll_interval: float = 0.5,
    ) -> Run:
        """Wait until a run that was started before is completed; return it with its steps.

        Args:
            run_id: The run.
            flow: Its class, where its output is to be of the type that `Flow[..., output]` says.
            timeout: Seconds to wait at the most; 0 looks once.
            poll_interval: Seconds between looks when no notification comes.

        Raises:
            InvalidRunId: The text is no UUID.
            RunNotFound: There is no such run, or it was deleted meanwhile.
            RunFailed, RunTimeout, OutputError: As for `start_flow_sync`.
        """
        wanted = run_id_of(run_id)
        async with self._connections.watching() as watch:
            # It may have ended before we listened.
            run = await self.get_run_with_states(wanted, conn=watch.connection)
            if not run.ended:
                run = await watch.wait(wanted, timeout=timeout, poll_interval=poll_interval)
        return _ended_well(run, None if flow is None else as_definition(flow))

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
        wanted = run_filter(flow, status, started_after, started_before, input_contains)
        limit = page_size(limit)
        statement = runs.list_runs(wanted, limit + 1, place_after(after))
        found = await self._connections.run(statement, conn, doing="listing runs")
        return RunPage.of(found, limit)

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

    async def _found(self, run_id: UUID | str, statement: Statement[Run | None], conn: AsyncConn | None) -> Run:
        run = await self._connections.run(statement, conn, doing="reading a run")
        if run is None:
            raise RunNotFound(f"there is no run {run_id} in this database")
        return run


def _ended_well(run: Run, definition: FlowDefinition | None) -> Run:
    if run.failed:
        raise RunFailed(run)
    return with_typed_output(run, definition)
