"""Statements that tell how much waits in the queues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgflow_mp.core.statement import Row, Statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["QueueDepth", "queue_depths", "stirred_flows"]


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """One queue at one moment.

    Attributes:
        flow_slug: The flow.
        queue_name: The queue: the flow's, or that of some of its steps (generations QI-1).
        ready: Messages that a worker could take now.
        invisible: Messages that are delayed, wait for a retry, or are with a worker.
        oldest_seconds: How long the one that has been visible for longest has waited; None where none is.
    """

    flow_slug: str
    queue_name: str
    ready: int
    invisible: int
    oldest_seconds: float | None


def queue_depths(flow_slugs: Iterable[str] | None = None) -> Statement[list[QueueDepth]]:
    """Count what waits in the queues of these flows, of all by default; ordered by flow and queue."""

    def read(rows: Sequence[Row]) -> list[QueueDepth]:
        return [QueueDepth(*row) for row in rows]

    wanted = None if flow_slugs is None else list(flow_slugs)
    return Statement("select * from pgflow_mp.queue_depths(%s::text[])", (wanted,), read)


def stirred_flows(flow_slugs: Sequence[str], marks: Sequence[int]) -> Statement[dict[str, int | None]]:
    """Tell which of these flows may have messages, in very little time.

    Args:
        flow_slugs: The flows.
        marks: What was last returned for each; -1 where nothing is known.

    Returns:
        By slug: None where there are messages, a new mark where the queue is empty; a flow is left out where no message
        was numbered since its mark.
    """
    sql = "select * from pgflow_mp.stirred_flows(%s::text[], %s::bigint[])"
    return Statement(sql, (list(flow_slugs), list(marks)), lambda found: dict(found))
