"""What all parts of an application object share: its flows and its connections."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pgflow_mp.client.aio.connections import AsyncConnections
from pgflow_mp.client.crew import Crew
from pgflow_mp.client.telling import Telling, is_committed
from pgflow_mp.connecting import DSN_VARIABLE
from pgflow_mp.core.queries.carriers import carrying
from pgflow_mp.core.queries.runs import get_run_with_states
from pgflow_mp.errors import PgflowError
from pgflow_mp.flow import Flow, as_definition
from pgflow_mp.registry import registered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from pgflow_mp.client.arguments import FlowRef
    from pgflow_mp.client.joining import AsyncConn
    from pgflow_mp.core.queries.runs import StartedRun
    from pgflow_mp.core.statement import Statement
    from pgflow_mp.definition import FlowDefinition
    from pgflow_mp.hooks.manager import Plugins
    from pgflow_mp.registry import Handlers


class AsyncFace:
    """Holds what the operations of `AsyncPgFlow` need; each subject of them is a class derived from this one."""

    def __init__(
        self,
        dsn: str | None = None,
        *,
        flows: Iterable[type[Flow] | FlowDefinition] = (),
        handlers: Handlers = (),
        plugins: Sequence[object] | Plugins = (),
    ) -> None:
        found = dsn or os.environ.get(DSN_VARIABLE)
        if not found:
            raise PgflowError(f"no database was named: pass a DSN to AsyncPgFlow(...) or set {DSN_VARIABLE}")
        self._connections = AsyncConnections(found)
        self._flows = {definition.slug: definition for definition in map(as_definition, flows)}
        self._handlers = registered(handlers)
        self._crew = Crew()
        self._telling = Telling(plugins)

    def _known(self, flow: FlowRef) -> FlowDefinition | None:
        """Return the definition of a flow; by its slug only where it is one of those given at construction."""
        return self._flows.get(flow) if isinstance(flow, str) else as_definition(flow)

    async def _start(
        self,
        slug: str,
        run_ids: Sequence[UUID],
        statement: Statement[list[StartedRun]],
        conn: AsyncConn | None,
        *,
        flow: FlowDefinition | None,
        doing: str,
    ) -> list[UUID]:
        """Start runs with what plugins pass along, and tell the observers of each once it is committed.

        Returns:
            The id of each, in order; one that had been started before (idempotency keys) is not told.
        """
        statement = carrying(statement, self._telling.carriers(slug, run_ids))
        started = await self._connections.run(statement, conn, doing=doing)
        for run in started:
            await self._tell(slug, run, conn, flow)
        return [run.run_id for run in started]

    async def _tell(
        self, slug: str, started: StartedRun, conn: AsyncConn | None, flow: FlowDefinition | None = None
    ) -> None:
        if not (started.is_new and is_committed(conn)):
            return
        states = None
        if self._telling.wants_states_of(started, flow):
            states = await self._connections.run(get_run_with_states(started.run_id), conn)
        self._telling.started(slug, started, states)
