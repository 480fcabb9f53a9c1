"""Dynamic flows: flows made at run time from plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgflow_mp.client.aio.face import AsyncFace
from pgflow_mp.client.plain_data import done_by, from_plain_data
from pgflow_mp.client.telling import is_committed
from pgflow_mp.core.queries import dynamic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgflow_mp.client.joining import AsyncConn
    from pgflow_mp.core.queries.definitions import Compiled


class AsyncDynamic(AsyncFace):
    """The operations on flows as plain data."""

    async def upsert_flow(
        self,
        slug: str,
        steps: Sequence[Mapping[str, Any]],
        *,
        max_attempts: int | None = None,
        base_delay: int | None = None,
        timeout: int | None = None,  # noqa: ASYNC109 - the contract's word: of the flow's tasks
        force: bool = False,
        conn: AsyncConn | None = None,
    ) -> Compiled:
        """Make a flow from plain data, or make the one of this slug what the data say: for automations of tenants.

        **Where the flow in the database differs in anything, it is deleted with all its runs and made anew** (D-17);
        the answer's status is `recompiled` then, and its `differences` say why. `compiled` is a new flow. `verified` is
        one that was the same: nothing of it is touched.

        Workers that have handlers (`PgFlow(handlers=...)`, `start_worker`) serve it from then on, without a restart.

        Args:
            slug: The flow.
            steps: One mapping for each step: `slug`, `deps` (a list of slugs), `step_type`, `when`, `unless`,
                `when_unmet`, `when_exhausted`, `max_attempts`, `base_delay`, `timeout`, `start_delay` (D-14), and what
                the step is done by: `handler`, the name of a registered function (else the step's slug is its name),
                `executor`, `processes`, `concurrency`. A change of these alone deletes nothing.
            max_attempts: Attempts of a task, the first included; else 3.
            base_delay: Base of the retry delay in seconds; else 5.
            timeout: Seconds that one attempt may take; else 60.
            force: Delete it with its runs and make it anew though nothing differs.
            conn: Join the transaction of this connection.

        Raises:
            DefinitionError: The data are no flow; the message says where. Nothing has changed.
        """
        definition = from_plain_data(
            slug, steps, self._handlers, max_attempts=max_attempts, base_delay=base_delay, timeout=timeout
        )
        compiled = await self._connections.run(
            dynamic.upsert_flow(slug, definition.shape(), done_by(steps), force=force),
            conn,
            doing=f"making flow `{slug}`",
        )
        if is_committed(conn):
            self._telling.compiled(slug, compiled)
        return compiled
