"""Definitions: compile flows, look them up, delete them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.client.aio.face import AsyncFace
from pgflow_mp.client.arguments import FlowRef, slug_of
from pgflow_mp.client.telling import is_committed
from pgflow_mp.core.queries import definitions, schedules
from pgflow_mp.errors import FlowNotFound, ShapeMismatch
from pgflow_mp.flow import Flow, as_definition

if TYPE_CHECKING:
    from datetime import datetime

    from pgflow_mp.client.joining import AsyncConn
    from pgflow_mp.core.queries.definitions import Compiled
    from pgflow_mp.definition import FlowDefinition


class AsyncDefinitions(AsyncFace):
    """The operations on flows as such."""

    async def compile(
        self,
        flow: type[Flow] | FlowDefinition,
        *,
        recompile: bool = False,
        conn: AsyncConn | None = None,
    ) -> Compiled:
        """Make the flow in the database, or verify that the one there is the same.

        Changed options (attempts, delays, timeouts) are updated in place; on a core of somebody else they stay, and
        `options_left` names them. A changed shape is refused (D-17).

        Args:
            flow: The flow.
            recompile: Where the shape differs, delete the flow with all its runs and make it anew.
            conn: Join the transaction of this connection.

        Raises:
            ShapeMismatch: The database has another shape; its attribute `differences` lists how. Nothing changed.
        """
        definition = as_definition(flow)
        compiled = await self._connections.run(
            definitions.compile_flow(
                definition.slug,
                definition.shape(),
                recompile=recompile,
                is_job=definition.is_job,
                schedules=definition.schedules,
            ),
            conn,
            doing=f"compiling flow `{definition.slug}`",
        )
        if compiled.status == "mismatch":
            raise ShapeMismatch(definition.slug, compiled.differences)
        if is_committed(conn):
            self._telling.compiled(definition.slug, compiled)
        return compiled

    async def flow_exists(self, flow: FlowRef, *, conn: AsyncConn | None = None) -> bool:
        """Return whether the database has the flow."""
        return await self._connections.run(definitions.flow_exists(slug_of(flow)), conn)

    async def delete_flow(self, flow: FlowRef, *, conn: AsyncConn | None = None) -> None:
        """Delete the flow's definition, its runs and tasks, and its queue.

        Raises:
            FlowNotFound: The database has no such flow.
        """
        slug = slug_of(flow)
        existed = await self._connections.run(definitions.delete_flow(slug), conn, doing=f"deleting flow `{slug}`")
        if not existed:
            raise FlowNotFound(f"flow `{slug}` is not in this database; nothing was deleted")

    async def pause_flow(self, flow: FlowRef, *, conn: AsyncConn | None = None) -> None:
        """Let workers of pgflow-mp claim no task of the flow, and its schedules start nothing, until it is resumed.

        What runs goes on to its end, and runs can be started: they wait. Workers of other languages do not know of
        pauses and go on (D-20).

        Raises:
            FlowNotFound: The database has no such flow.
        """
        await self._pause(slug_of(flow), conn, paused=True)

    async def resume_flow(self, flow: FlowRef, *, conn: AsyncConn | None = None) -> None:
        """Let a paused flow go on; what its schedules missed is not caught up. One that is not paused stays so.

        Raises:
            FlowNotFound: The database has no such flow.
        """
        await self._pause(slug_of(flow), conn, paused=False)

    async def paused_flows(self, *, conn: AsyncConn | None = None) -> dict[str, datetime]:
        """Return the flows that are paused, by slug, and since when."""
        return await self._connections.run(schedules.paused_flows(), conn, doing="reading which flows are paused")

    async def _pause(self, slug: str, conn: AsyncConn | None, *, paused: bool) -> None:
        doing = f"{'pausing' if paused else 'resuming'} flow `{slug}`"
        if not await self._connections.run(schedules.pause_flow(slug, paused=paused), conn, doing=doing):
            raise FlowNotFound(f"flow `{slug}` is not in this database; nothing was changed")

    def list_flows(self) -> list[FlowDefinition]:
        """Return the flows that this object was made with."""
        return list(self._flows.values())

    def get_flow(self, flow: FlowRef) -> FlowDefinition:
        """Return the definition of one of the flows that this object was made with.

        Raises:
            FlowNotFound: It is none of them; the message lists them.
        """
        slug = slug_of(flow)
        if slug not in self._flows:
            known = ", ".join(sorted(self._flows)) or "none"
            raise FlowNotFound(f"flow `{slug}` was not given to AsyncPgFlow(flows=[...]); known: {known}")
        return self._flows[slug]
