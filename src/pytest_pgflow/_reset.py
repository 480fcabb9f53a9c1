"""Empty a database between two tests: the `delete` isolation.

Deleting the rows takes a tenth of what a new database takes, but the queues stay, and so does whatever the
application under test wrote elsewhere. Tables that have rows in a fresh database are bookkeeping of the
installation and stay as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    import psycopg

_TABLES = """
    select n.nspname, c.relname
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and not c.relispartition
      and (n.nspname in ('pgflow', 'pgflow_mp')
           or n.nspname = 'pgmq' and (c.relname like 'q\\_%' or c.relname like 'a\\_%'))
    order by 1, 2
"""

Table = tuple[str, str]


def bookkeeping(conn: psycopg.Connection[Any]) -> frozenset[Table]:
    """Return the tables that have rows in a fresh database."""
    tables = conn.execute(_TABLES).fetchall()
    return frozenset(
        (schema, name)
        for schema, name in tables
        if conn.execute(sql.SQL("select from {} limit 1").format(sql.Identifier(schema, name))).fetchone() is not None
    )


def empty(conn: psycopg.Connection[Any], *, keep: frozenset[Table]) -> None:
    """Delete all rows of our tables and queues, except in ``keep``.

    One statement: foreign keys are checked when it ends, so the order of the tables does not matter.
    """
    tables = [table for table in conn.execute(_TABLES).fetchall() if table not in keep]
    deletes = [
        sql.SQL("{} as (delete from {})").format(sql.Identifier(f"d{i}"), sql.Identifier(*table))
        for i, table in enumerate(tables)
    ]
    if deletes:
        conn.execute(sql.SQL("with {} select").format(sql.SQL(", ").join(deletes)))
