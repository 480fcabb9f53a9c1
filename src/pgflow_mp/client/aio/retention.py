"""History: how long runs are kept, and deleting older ones."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from pgflow_mp.client.aio.face import AsyncFace
from pgflow_mp.client.arguments import FlowRef, flows_of, slug_of
from pgflow_mp.core.queries import retention
from pgflow_mp.core.queries.retention import Pruned, Retention
from pgflow_mp.errors import InvalidInput
from pgflow_mp.rules import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgflow_mp.client.joining import AsyncConn


class AsyncHistory(AsyncFace):
    """The operations on what has ended."""

    async def prune(
        self,
        older_than: timedelta,
        *,
        flow: FlowRef | Sequence[FlowRef] | None = None,
        batch_size: int = 1000,
        conn: AsyncConn | None = None,
    ) -> Pruned:
        """Delete runs that ended longer ago than that, with their steps and tasks, and archived messages of that age.

        It goes on batch by batch until nothing is left; each batch is a transaction of its own, so neither workers nor
        callers wait for long. Workers do the same by themselves, see `set_retention`.

        Args:
            older_than: How long ago.
            flow: Of this flow, or of these; of all by default.
            batch_size: The most runs of one batch.
            conn: Do it all in the transaction of this connection.

        Returns:
            How much was deleted.

        Raises:
            InvalidInput: The time is negative, or the batch has no size.
            NotPermitted: The role may not delete history: that is for the one that installed pgflow.
        """
        if not isinstance(older_than, timedelta):
            raise InvalidInput(f"older_than must be a timedelta, such as timedelta(days=30), not {shown(older_than)}")
        if older_than < timedelta(0) or batch_size < 1:
            raise InvalidInput(f"older_than={older_than} and batch_size={batch_size}: neither may be negative or empty")
        slugs = None if flow is None else [slug_of(one) for one in flows_of(flow)]
        deleted = Pruned(more=True)
        while deleted.more:
            batch = retention.prune(older_than, slugs, batch_size)
            deleted += await self._connections.run(batch, conn, doing="deleting old runs")
        return deleted

    async def set_retention(
        self,
        keep: timedelta | Literal["as others"] | None,
        *,
        flow: FlowRef | None = None,
        conn: AsyncConn | None = None,
    ) -> None:
        """Say how long runs are kept after their end; our workers then delete older ones, a batch at a time.

        In a database made ready by `pgflow-mp install` that is 30 days until somebody says otherwise.

        Args:
            keep: How long; None for good; `as others` takes the own rule of a flow away.
            flow: The rule of this flow; by default that of all flows without one of their own.
            conn: Join the transaction of this connection.

        Raises:
            InvalidInput: The time is negative, or `as others` is said of all flows.
            NotPermitted: The role may not decide that: it is for the one that installed pgflow.
        """
        as_others = keep == "as others"
        # A number of days, say, must not pass for "for good".
        if not isinstance(keep, timedelta | None) and (flow is None or not as_others):
            raise InvalidInput(f"keep={keep!r}: it is a timedelta, None (for good), or 'as others' for a single flow")
        if isinstance(keep, timedelta) and keep < timedelta(0):
            raise InvalidInput(f"keep={keep}: a run cannot be kept for less than no time")
        slug = None if flow is None else slug_of(flow)
        span = keep if isinstance(keep, timedelta) else None
        statement = retention.set_retention(span, slug, as_others=as_others)
        await self._connections.run(statement, conn, doing="setting the retention")

    async def get_retention(self, *, conn: AsyncConn | None = None) -> Retention:
        """Return how long runs are kept: `keep` for all flows, `flows` for those with a rule of their own."""
        return await self._connections.run(retention.get_retention(), conn)
