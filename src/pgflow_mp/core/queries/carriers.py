"""Statements about what plugins pass along with runs and tasks, such as the context of a trace: text by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from pgflow_mp.core.statement import Row, Statement, nothing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

__all__ = ["Carrier", "Place", "carriers_of", "carrying", "leave_carriers"]

T = TypeVar("T")

Carrier: TypeAlias = "Mapping[str, str]"
Place: TypeAlias = "tuple[UUID, str, int]"
"""A task: its run, step and index."""


def carrying(start: Statement[T], carriers: Mapping[UUID, Carrier]) -> Statement[T]:
    """Return the statement that does what `start` does, and notes what is passed along with the runs that it starts."""
    if not carriers:
        return start
    sql = f"""
        with started as materialized ({start.sql}),
        carried as (
          select pgflow_mp.carry(%s::uuid[], %s::jsonb[]) from (select count(*) from started) as all_of_them
        )
        select started.* from started, carried
    """  # noqa: S608 - put together from statements of ours
    texts = [json.dumps(dict(carrier)) for carrier in carriers.values()]
    return Statement(sql, (*start.params, list(carriers), texts), start.read)


def leave_carriers(left: Mapping[Place, str]) -> Statement[None]:
    """Note what attempts leave for the tasks that follow, as JSON texts; before their outcomes are settled."""
    runs, steps, indexes = zip(*left, strict=True)
    params = (list(runs), list(steps), list(indexes), list(left.values()))
    sql = "select pgflow_mp.leave_carriers(%s::uuid[], %s::text[], %s::int[], %s::jsonb[])"
    return Statement(sql, params, nothing)


def carriers_of(tasks: Sequence[tuple[str, UUID, str]]) -> Statement[dict[int, bytes]]:
    """Read what came along with tasks (flow, run, step); by place, where there is something, `[run, parents]`, JSON."""

    def read(rows: Sequence[Row]) -> dict[int, bytes]:
        return {place - 1: f"[{run},{parents}]".encode() for place, run, parents in rows}

    flows, runs, steps = zip(*tasks, strict=True)
    sql = (
        "select place, coalesce(run, '{}')::text, parents::text "
        "from pgflow_mp.carriers_of(%s::text[], %s::uuid[], %s::text[])"
    )
    return Statement(sql, (list(flows), list(runs), list(steps)), read)
