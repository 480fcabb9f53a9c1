"""Statements about the time by which starts are scheduled: the database's clock, and for tests another one.

`pgflow_mp._clock()` is that time. Standing still means that the function is replaced, in this one database, by one that
always answers the same.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pgflow_mp.core import scripts
from pgflow_mp.core.statement import Statement, nothing, value

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

__all__ = ["begin_anew", "read_clock", "restore_clock", "stop_clock", "waiting_runs"]

_ANEW = """
with forgotten as (delete from pgflow_mp.ticks)
update pgflow_mp.schedules set starts_at = pgflow_mp._clock(), considered_at = pgflow_mp._clock(), next_at = null
"""
_CLOCK = ("start", "_clock.sql")


def read_clock() -> Statement[datetime]:
    """Tell the time, in UTC."""
    return Statement("select pgflow_mp._clock()", (), lambda found: value(found).astimezone(UTC))


def stop_clock(moment: datetime) -> Statement[None]:
    """Let the clock stand still at a moment; takes the right to replace our functions."""
    text = moment.astimezone(UTC).isoformat()
    return Statement(_source().replace("clock_timestamp()", f"timestamptz '{text}'"), (), nothing)


def restore_clock() -> Statement[None]:
    """Let the clock be the database's own."""
    return Statement(_source(), (), nothing)


def begin_anew() -> Statement[None]:
    """Let all schedules begin now, as if nothing had ticked before; takes the right to write their tables."""
    return Statement(_ANEW, (), nothing)


def waiting_runs(flow_slugs: Sequence[str]) -> Statement[list[tuple[UUID, str, float]]]:
    """Tell the runs of flows that have queued tasks: id, flow, and in how many seconds the first may start."""
    sql = "select run_id, flow_slug, seconds from pgflow_mp.waiting_runs(%s::text[])"
    return Statement(sql, (list(flow_slugs),), lambda found: [(row[0], row[1], row[2]) for row in found])


def _source() -> str:
    return scripts.root().joinpath(*_CLOCK).read_text("utf-8")
