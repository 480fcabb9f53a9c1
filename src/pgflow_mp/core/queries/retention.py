"""Statements about how long runs are kept, and about deleting those that are older."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from pgflow_mp.core.statement import Row, Statement, nothing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Pruned", "Retention", "get_retention", "prune", "set_retention", "sweep"]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was deleted.

    Attributes:
        runs: Runs that had ended.
        steps: Their step states.
        tasks: Their tasks.
        archived: Archived messages.
        more: Whether another call may find more.
    """

    runs: int = 0
    steps: int = 0
    tasks: int = 0
    archived: int = 0
    more: bool = False

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(
            self.runs + other.runs,
            self.steps + other.steps,
            self.tasks + other.tasks,
            self.archived + other.archived,
            other.more,
        )

    def __bool__(self) -> bool:
        return bool(self.runs or self.archived)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long runs are kept after their end; None is for good.

    Attributes:
        keep: Those of flows without a rule of their own.
        flows: The rules of single flows by slug.
    """

    keep: timedelta | None
    flows: Mapping[str, timedelta | None]

    def __str__(self) -> str:
        own = [f"flow {slug}: {_for(keep)}" for slug, keep in sorted(self.flows.items())]
        return _for(self.keep) + (f" ({', '.join(own)})" if own else "")


def prune(keep: timedelta, flow_slugs: Sequence[str] | None, batch_size: int) -> Statement[Pruned]:
    """Delete one batch of what ended longer ago than `keep`, of all flows or of these.

    Args:
        keep: How long ago.
        flow_slugs: Of which flows; None for all.
        batch_size: The most runs.
    """
    sql = "select * from pgflow_mp.prune(%s::interval, %s::text[], %s::int)"
    return Statement(sql, (keep, None if flow_slugs is None else list(flow_slugs), batch_size), _read_pruned)


def sweep(batch_size: int, pause: float) -> Statement[Pruned]:
    """Delete one batch of what is older than the retention of its flow, if it is time and nobody else does.

    Args:
        batch_size: The most runs.
        pause: Seconds for which nobody needs to look after a sweep that found nothing more.
    """
    sql = "select * from pgflow_mp.sweep(%s::int, make_interval(secs => %s::float8))"
    return Statement(sql, (batch_size, pause), _read_pruned)


def get_retention() -> Statement[Retention]:
    """Read how long runs are kept."""
    return Statement("select * from pgflow_mp.get_retention()", (), _read_retention)


def set_retention(keep: timedelta | None, flow_slug: str | None, *, as_others: bool = False) -> Statement[None]:
    """Say how long runs are kept.

    Args:
        keep: After their end; None for good.
        flow_slug: Of one flow; None for all that have no rule of their own.
        as_others: Take the flow's own rule away.
    """
    sql = "select pgflow_mp.set_retention(%s::interval, %s::text, %s::boolean)"
    return Statement(sql, (keep, flow_slug, as_others), nothing)


def _read_pruned(found: list[Row]) -> Pruned:
    return Pruned(*found[0])


def _read_retention(found: list[Row]) -> Retention:
    rules = {slug: None if seconds is None else timedelta(seconds=seconds) for slug, seconds in found}
    return Retention(rules.pop("", None), rules)


def _for(keep: timedelta | None) -> str:
    if keep is None:
        return "for good"
    days = keep / timedelta(days=1)
    return f"for {days:g} {'day' if days == 1 else 'days'}" if keep >= timedelta(days=1) else f"for {keep}"
