"""What all parts of an application object share: its flows and its connections."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pgflow_mp.client.aio.connections import AsyncConnections
from pgflow_mp.client.crew import Crew
from pgflow_mp.connecting import DSN_VARIABLE
from pgflow_mp.errors import PgflowError
from pgflow_mp.flow import Flow, as_definition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgflow_mp.client.arguments import FlowRef
    from pgflow_mp.definition import FlowDefinition


class AsyncFace:
    """Holds what the operations of `AsyncPgFlow` need; each subject of them is a class derived from this one."""

    def __init__(self, dsn: str | None = None, *, flows: Iterable[type[Flow] | FlowDefinition] = ()) -> None:
        found = dsn or os.environ.get(DSN_VARIABLE)
        if not found:
            raise PgflowError(f"no database was named: pass a DSN to AsyncPgFlow(...) or set {DSN_VARIABLE}")
        self._connections = AsyncConnections(found)
        self._flows = {definition.slug: definition for definition in map(as_definition, flows)}
        self._crew = Crew()

    def _known(self, flow: FlowRef) -> FlowDefinition | None:
        """Return the definition of a flow; by its slug only where it is one of those given at construction."""
        return self._flows.get(flow) if isinstance(flow, str) else as_definition(flow)
