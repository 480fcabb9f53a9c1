"""Create the functions of the package again, whatever an earlier version of them looked like.

``create or replace`` keeps a function's identity, and with it its grants and what depends on it. It refuses when
the result type, a parameter's name or a default goes away: then the old function is dropped first. Afterwards every
function that an earlier install made and this one did not is dropped, and a new one that has the name of an old
one gets the old one's grants: whoever could call it still can, and nobody else (D-11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg.rows import tuple_row

if TYPE_CHECKING:
    from pgflow_mp.core.scripts import Script

__all__ = ["functions"]

_Connection = psycopg.Connection[Any]


class _Function(NamedTuple):
    """A function as the catalog has it."""

    signature: str  # with its schema
    name: str  # without
    oid: int
    version: str  # of its row: create or replace always makes another
    grantees: str | None  # roles, quoted; None when nobody ever granted or revoked


_FUNCTIONS = """
select p.oid::regprocedure::text,
       p.proname,
       p.oid::bigint,
       p.xmin::text || ' ' || p.ctid::text,
       granted.grantees
from pg_catalog.pg_proc as p
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
left join lateral (
  select string_agg(distinct coalesce(quote_ident(r.rolname), 'public'), ', ') as grantees
  from pg_catalog.aclexplode(p.proacl) as a
  left join pg_catalog.pg_roles as r on r.oid = a.grantee
  where a.privilege_type = 'EXECUTE'
) as granted on true
where n.nspname in ('pgflow', 'pgflow_mp')
"""


def functions(conn: _Connection, wanted: list[Script], earlier: list[str]) -> list[str]:
    """Run `wanted`, drop what is left of `earlier`, and return the signatures of the functions made.

    Leaves search_path empty; the install gives it back.

    Args:
        conn: A connection inside the transaction of the install.
        wanted: The function files.
        earlier: Signatures of the functions that an earlier install made.

    Raises:
        psycopg.errors.DependentObjectsStillExist: A function whose signature changed, or that is no longer ours,
            is used by an object of somebody else.
    """
    conn.execute("set local search_path = ''")  # so that signatures name their schema
    before = _present(conn)
    for script in wanted:
        _run(conn, script, earlier)
    versions = {old.signature: old.version for old in before}
    made = [new for new in _present(conn) if versions.get(new.signature) != new.version]
    for signature in sorted(set(earlier) - {new.signature for new in made}):
        conn.execute(f"drop function if exists {signature}".encode())
    _inherit_grants(conn, before, made)
    return sorted(new.signature for new in made)


def _run(conn: _Connection, script: Script, earlier: list[str]) -> None:
    """Run one file; when an old form of its functions is in the way, without that."""
    try:
        with conn.transaction():
            conn.execute(script.sql.encode())
    except psycopg.errors.InvalidFunctionDefinition:
        for signature in earlier:
            if f"function {signature.partition('(')[0]}(" in script.sql:
                conn.execute(f"drop function if exists {signature}".encode())
        conn.execute(script.sql.encode())


def _inherit_grants(conn: _Connection, before: list[_Function], made: list[_Function]) -> None:
    known = {old.oid for old in before}
    grantees = {old.name: old.grantees for old in before if old.grantees}
    for new in made:
        if new.oid not in known and new.name in grantees:
            conn.execute(f"revoke all on function {new.signature} from public".encode())
            conn.execute(f"grant execute on function {new.signature} to {grantees[new.name]}".encode())


def _present(conn: _Connection) -> list[_Function]:
    return [_Function(*row) for row in conn.cursor(row_factory=tuple_row).execute(_FUNCTIONS).fetchall()]
