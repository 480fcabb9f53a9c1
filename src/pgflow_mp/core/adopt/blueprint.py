"""What a fresh install makes, as a catalog to compare with.

The package's own SQL files are the only description of it. They are run, with two other schema names, inside a
savepoint that is taken back: nothing of it stays or is ever seen by others, no table of the database is locked, and
what was made is read from the catalog. So what is wanted can never differ from what `install` makes.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import Rollback
from psycopg.rows import tuple_row

from pgflow_mp.core import scripts
from pgflow_mp.core.adopt import catalog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

    import psycopg

    from pgflow_mp.core.adopt.catalog import Catalog
    from pgflow_mp.core.scripts import Script

__all__ = ["SCHEMAS", "Blueprint", "drawn"]

SCHEMAS = {"pgflow_blueprint": "pgflow", "pgflow_blueprint_mp": "pgflow_mp"}
"""The schemas of the blueprint, and which each stands for."""

_NAMES = {name: here for here, name in SCHEMAS.items()}
_QUALIFIED = re.compile(r"\b(pgflow|pgflow_mp)(?=\.)")


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What an install would make.

    Attributes:
        version: Of the tables.
        functions: The function files, in order, as the install runs them.
        catalog: What they make, under its real names.
        rows: What a fresh install's tables hold: table, columns, values as SQL literals.
    """

    version: int
    functions: list[Script]
    catalog: Catalog
    rows: list[tuple[str, str, str]]


@contextmanager
def drawn(conn: psycopg.Connection[Any], folder: Traversable, *, realtime: bool) -> Iterator[Blueprint]:
    """Draw the blueprint; its schemas are there inside the context, and never were afterwards.

    Args:
        conn: A connection in a transaction, with an empty search_path, of a role that may create schemas.
        folder: The SQL files.
        realtime: Which variant of the functions.
    """
    versions = scripts.migrations(folder)
    functions = scripts.functions(folder, realtime=realtime)
    with conn.transaction():
        for here in SCHEMAS:
            conn.execute(f"create schema {here}".encode())
        for script in [*(script for _, parts in versions for script in parts), *functions]:
            conn.execute(_rendered(script.sql).encode())
        made = catalog.read(conn, SCHEMAS)
        yield Blueprint(versions[-1][0], functions, made, list(_rows(conn, made)))
        raise Rollback


def _rendered(sql: str) -> str:
    return _QUALIFIED.sub(lambda found: _NAMES[found[0]], sql)


def _rows(conn: psycopg.Connection[Any], made: Catalog) -> Iterator[tuple[str, str, str]]:
    """What the tables of the blueprint hold from the start."""
    for table in made.relations.values():
        if table.kind == "r":
            names = ", ".join(table.columns)
            literals = ", ".join(f"quote_nullable({name})" for name in table.columns)
            query = f"select concat_ws(', ', {literals}) from {_rendered(table.path)}"  # noqa: S608
            for (values,) in conn.cursor(row_factory=tuple_row).execute(query.encode()).fetchall():
                yield table.path, names, values
