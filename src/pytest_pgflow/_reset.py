"""Empty a database between two tests: the `delete` isolation.

Deleting rows takes a tenth of what a new database takes. What tests did goes: runs, tasks, messages, workers.
What they defined stays: flows and their queues (a flow that another test wrote differently is recompiled), and
whatever the application under test has elsewhere. Tables that have rows in a fresh database are bookkeeping of
the installation and stay too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

_DEFINITIONS = ("flows", "steps", "deps")

_TABLES = """
    select n.nspname, c.relname
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and not c.relispartition
      and (n.nspname = 'pgflow' and c.relname <> all(%(definitions)s)
           or n.nspname = 'pgflow_mp'
           or n.nspname = 'pgmq' and c.relname like any (array['q\\_%%', 'a\\_%%'])
              and (%(queues)s::text[] is null or substr(c.relname, 3) = any(%(queues)s)))
      and (c.relkind = 'p' or pg_relation_size(c.oid) > 0)
    order by 1, 2
"""

Table = tuple[str, str]


def bookkeeping(conn: psycopg.Connection[Any]) -> frozenset[Table]:
    """Return the tables that have rows in a fresh database."""
    return frozenset(
        (schema, name)
        for schema, name in _tables(conn)
        if conn.execute(sql.SQL("select from {} limit 1").format(sql.Identifier(schema, name))).fetchone() is not None
    )


def empty(conn: psycopg.Connection[Any], *, keep: frozenset[Table], queues: Sequence[str] | None = None) -> None:
    """Delete all rows of our tables and queues, except in ``keep``.

    One statement: foreign keys are checked when it ends, so the order of the tables does not matter.

    Args:
        conn: In autocommit mode.
        keep: Tables to leave alone.
        queues: The queues that may have messages; None is all.
    """
    tables = [table for table in _tables(conn, queues) if table not in keep]
    deletes = [
        sql.SQL("{} as (delete from {})").format(sql.Identifier(f"d{i}"), sql.Identifier(*table))
        for i, table in enumerate(tables)
    ]
    if deletes:
        conn.execute(sql.SQL("with {} select").format(sql.SQL(", ").join(deletes)))


def _tables(conn: psycopg.Connection[Any], queues: Sequence[str] | None = None) -> list[Table]:
    """Return the tables that may have rows: a table whose file is empty has none."""
    named = None if queues is None else list(queues)
    return conn.execute(_TABLES, {"definitions": list(_DEFINITIONS), "queues": named}).fetchall()
