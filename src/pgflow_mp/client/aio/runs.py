"""Runs: start them, wait for them.

`start_flow` never compiles: a flow that the database does not know is `FlowNotFound` (D-16).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from pgflow_mp.client.aio.reading import AsyncReading
from pgflow_mp.client.arguments import (
    NO_INPUT,
    FlowRef,
    encoded_input,
    ids_for,
    many,
    run_id_of,
    run_keys,
    slug_of,
    with_typed_output,
)
from pgflow_mp.core.queries import runs
from pgflow_mp.errors import PgflowError, RunFailed
from pgflow_mp.flow import as_definition
from pgflow_mp.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from pgflow_mp.client.joining import AsyncConn
    from pgflow_mp.definition import FlowDefinition
    from pgflow_mp.flow import Flow, InputT, OutputT
    from pgflow_mp.results import Run


class AsyncRuns(AsyncReading):
    """The operations that start runs and wait for them."""

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
        inputs: Iterable[InputT],
        *,
        run_ids: Iterable[UUID] | None = None,
        idempotency_keys: Iterable[str | None] | None = None,
        unique_while_running: bool = False,
        conn: AsyncConn | None = None,
    ) -> list[UUID]: ...
    @overload
    async def start_flows(
        self,
        flow: FlowDefinition | str,
        inputs: Iterable[object],
        *,
        run_ids: Iterable[UUID] | None = None,
        idempotency_keys: Iterable[str | None] | None = None,
        unique_while_running: bool = False,
        conn: AsyncConn | None = None,
    ) -> list[UUID]: ...
    async def start_flows(
        self,
        flow: FlowRef,
        inputs: Iterable[object],
        *,
        run_ids: Iterable[UUID] | None = None,
        idempotency_keys: Iterable[str | None] | None = None,
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
            InvalidInput: An input is no JSON, or no array where one is needed; or what was given is no list of inputs.
                Then no run was started.
        """
        given = many(inputs, name="inputs")
        ids = ids_for(given, run_ids)
        slug, definition = slug_of(flow), self._known(flow)
        encoded = [encoded_input(value, definition) for value in given]
        keys = run_keys(idempotency_keys, count=len(ids), while_running=unique_while_running)
        statement = runs.start_once(slug, encoded, ids, keys) if keys else runs.start_flows(slug, encoded, ids)
        return await self._start(slug, ids, statement, conn, flow=definition, doing=f"starting flow `{slug}`")

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


def _ended_well(run: Run, definition: FlowDefinition | None) -> Run:
    if run.failed:
        raise RunFailed(run)
    return with_typed_output(run, definition)
