"""Everything that a plan is made from: what is there, what is wanted, and what was counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg.rows import tuple_row

from pgflow_mp.core.adopt.known import STRICTER
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg

    from pgflow_mp.core.adopt.blueprint import Blueprint
    from pgflow_mp.core.adopt.catalog import Catalog, Constraint
    from pgflow_mp.core.generation import Core

__all__ = ["Situation", "orphans_of"]

_SUMMARY = """
select (select count(*) from pgflow.flows),
       (select count(*) from pgflow.runs),
       (select count(*) from pgflow.runs where status = 'started')
"""


def orphans_of(path: str, reference: Constraint) -> str:
    """The rows of a table that break a foreign key, from ``from`` on."""
    pairs = zip(reference.columns, reference.parent_columns, strict=True)
    same = " and ".join(f"parent.{theirs} = child.{ours}" for ours, theirs in pairs)
    given = " and ".join(f"child.{ours} is not null" for ours in reference.columns)
    return f"from {path} as child where {given} and not exists (select from {reference.parent} as parent where {same})"


@dataclass(frozen=True, slots=True)
class Situation:
    """A database before its adoption.

    Attributes:
        conn: For what has yet to be counted; in the transaction of the plan, the blueprint's schemas are there.
        there: What the schemas hold.
        blueprint: What a fresh install makes.
        core: Whose it is, and of which generation.
        owner: The role that owns the schema.
        pgmq: How pgmq came here.
        installed: Signatures of the functions that an install beside has made; None where there was none.
        broken: What `count_broken` has counted.
    """

    conn: psycopg.Connection[Any]
    there: Catalog
    blueprint: Blueprint
    core: Core
    owner: str
    pgmq: str
    installed: frozenset[str] | None
    broken: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def count_broken(self) -> dict[tuple[str, str], int]:
        """How many rows break a wanted constraint, by table and constraint, where any do.

        Only constraints that are not there like that already can be broken, and those that ours are stricter with.
        What is about a column that is yet to come is not looked at: the column is filled to fit.
        """
        broken = {}
        for path, wanted in self.wanted.relations.items():
            there = self.there.relations.get(path)
            if there is None or wanted.kind != "r" or wanted.schema != "pgflow":
                continue
            for name, constraint in wanted.constraints.items():
                here = there.constraints.get(name)
                holds = here is not None and here.definition == constraint.definition and here.validated
                if (holds and not self.is_stricter(path, name)) or not set(constraint.columns) <= there.columns.keys():
                    continue
                number = self._number_broken(path, constraint)
                if number:
                    broken[path, name] = number
        return broken

    def _number_broken(self, path: str, constraint: Constraint) -> int:
        if constraint.kind == "c":  # its expression calls the functions of the blueprint
            return self.count(f"select from {path} where not ({constraint.expression})")
        return self.count(f"select {orphans_of(path, constraint)}") if constraint.kind == "f" else 0

    def is_stricter(self, path: str, name: str) -> bool:
        """Whether rows of older cores may go on breaking a constraint (generations SU-9)."""
        return (path.partition(".")[2], name) in STRICTER

    @property
    def wanted(self) -> Catalog:
        """What a fresh install makes."""
        return self.blueprint.catalog

    def summary(self) -> str:
        """What is there, in a sentence."""
        if self.core.reason is not None:
            return self.core.name
        ((flows, runs, open_runs),) = self.rows(_SUMMARY)
        return f"{self.core.name}: {counted(flows, 'flow')}, {counted(runs, 'run')}, {open_runs:,} of them open"

    def has(self, table: str, column: str) -> bool:
        """Whether a table of schema pgflow is there and has a column."""
        relation = self.there.relations.get(f"pgflow.{table}")
        return relation is not None and column in relation.columns

    def rows(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        """Ask the database."""
        return self.conn.cursor(row_factory=tuple_row).execute(query.encode(), params or None).fetchall()

    def count(self, query: str) -> int:
        """How many rows a query has."""
        return int(self.rows(f"select count(*) from ({query}) as counted")[0][0])  # noqa: S608 - made here
