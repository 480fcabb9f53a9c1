"""Create the functions of the package again, whatever an earlier version of them looked like.

``create or replace`` keeps a function's identity, and with it its grants and what depends on it. It refuses when
the result type, a parameter's name or a default goes away: then the old function is dropped, created anew, and gets
its grants back. Afterwards a function that an earlier install made and this one did not is dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import tuple_row

if TYPE_CHECKING:
    from pgflow_mp.core.scripts import Script

__all__ = ["functions"]

_Connection = psycopg.Connection[Any]

# Every function of our two schemas: its identity, its file's name, and the row version that create-or-replace renews.
_FUNCTIONS = """
select p.oid::regprocedure::text,
       p.proname,
       p.oid::text || ' ' || p.xmin::text,
       format('grant execute on function %s to %s', p.oid::regprocedure, g.grantees)
from pg_catalog.pg_proc as p
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
left join lateral (
  select string_agg(distinct coalesce(quote_ident(r.rolname), 'public'), ', ') as grantees
  from pg_catalog.aclexplode(p.proacl) as a
  left join pg_catalog.pg_roles as r on r.oid = a.grantee
  where a.privilege_type = 'EXECUTE'
) as g on true
where n.nspname in ('pgflow', 'pgflow_mp')
"""


def functions(conn: _Connection, wanted: list[Script], earlier: list[str]) -> list[str]:
    """Run `wanted`, drop what is left of `earlier`, and return the signatures of the functions made.

    Args:
        conn: A connection inside the transaction of the install.
        wanted: The function files.
        earlier: Signatures of the functions that an earlier install made.

    Raises:
        psycopg.errors.DependentObjectsStillExist: A function whose signature changed, or that is no longer ours, is
            used by an object of somebody else.
    """
    conn.execute("set local search_path = ''")  # signatures are written with their schema
    before = {signature: stamp for signature, _, stamp, _ in _present(conn)}
    for script in wanted:
        _run(conn, script, earlier)
    made = [signature for signature, _, stamp, _ in _present(conn) if before.get(signature) != stamp]
    for signature in set(earlier) - set(made):
        conn.execute(f"drop function if exists {signature}".encode())
    return sorted(made)


def _run(conn: _Connection, script: Script, earlier: list[str]) -> None:
    try:
        with conn.transaction():
            conn.execute(script.sql.encode())
    except psycopg.errors.InvalidFunctionDefinition:
        grants = _drop_namesakes(conn, script, earlier)
        conn.execute(script.sql.encode())
        for grant in grants:
            conn.execute(grant.encode())


def _drop_namesakes(conn: _Connection, script: Script, earlier: list[str]) -> list[str]:
    """Drop our functions that the file `script` is named for; return the grants to give again."""
    name = script.name.rpartition("/")[2].partition(".")[0]
    namesakes = [row for row in _present(conn) if row[1] == name and row[0] in earlier]
    for signature, *_ in namesakes:
        conn.execute(f"drop function {signature}".encode())
    return [grant for *_, grant in namesakes if grant]


def _present(conn: _Connection) -> list[tuple[Any, ...]]:
    return conn.cursor(row_factory=tuple_row).execute(_FUNCTIONS).fetchall()
