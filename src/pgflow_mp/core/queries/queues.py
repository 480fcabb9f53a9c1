"""Statements that tell how much waits in the queues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgflow_mp.core.statement import Row, Statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["QueueDepth", "queue_depths"]


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
