"""Statements about flows that were made at run time from plain data, and the workers that serve them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgflow_mp.core.queries.definitions import Compiled, StoredFlow, read_compiled, read_flow
from pgflow_mp.core.statement import Row, Statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

__all__ = ["DynamicFlow", "Listing", "dynamic_details", "list_dynamic_flows", "upsert_flow"]


@dataclass(frozen=True, slots=True)
class Listing:
    """The dynamic flows of a database.

    Attributes:
        count: How many there are.
        total: The sum of their revisions; count and total together change with every change.
        revisions: By slug; None where nothing has changed.
    """

    count: int = 0
    total: Decimal | int = 0
    revisions: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class DynamicFlow:
    """A dynamic flow as it is stored.

    Attributes:
        flow: Its definition.
        steps: What its steps are done by: slug -> handler, executor, processes, concurrency, where given.
    """

    flow: StoredFlow
    steps: Mapping[str, Mapping[str, Any]]


def upsert_flow(
    slug: str, shape: Mapping[str, Any], steps: Mapping[str, Mapping[str, Any]], *, force: bool = False
) -> Statement[Compiled]:
    """Make a flow from plain data; one that is there and differs is deleted with its runs and made anew (D-17).

    Args:
        slug: Its slug.
        shape: Its steps and options, as core section 6 writes them.
        steps: What its steps are done by.
        force: Make it anew though nothing differs.

    Raises:
        psycopg.errors.RaiseException: (when executed) A slug is bad, or a queue is too long or taken.
    """
    sql = "select pgflow_mp.upsert_flow(%s::text, %s::jsonb, %s::jsonb, %s::boolean)::text"
    return Statement(sql, (slug, json.dumps(shape), json.dumps(steps), force), read_compiled)


def list_dynamic_flows(known: Listing) -> Statement[Listing]:
    """Read which dynamic flows there are, unless they are those known."""

    def read(found: list[Row]) -> Listing:
        count, total = found[0][:2]
        changed = (count, total) != (known.count, known.total)
        return Listing(count, total, {row[2]: row[3] for row in found if row[2] is not None} if changed else None)

    sql = "select * from pgflow_mp.dynamic_flows(%s::bigint, %s::numeric)"
    return Statement(sql, (known.count, known.total), read)


def dynamic_details(slugs: Sequence[str]) -> Statement[list[DynamicFlow]]:
    """Read dynamic flows by their slugs; one that is gone is left out."""

    def read(found: list[Row]) -> list[DynamicFlow]:
        return [DynamicFlow(read_flow(row), json.loads(row[0])["dynamic"]) for row in found]

    return Statement("select f::text from pgflow_mp.dynamic_details(%s::text[]) as f", (list(slugs),), read)
