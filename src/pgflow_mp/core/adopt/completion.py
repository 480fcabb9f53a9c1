"""The last changes: who may use our schema, what its tables hold from the start, and that it is ours now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pgflow_mp
from pgflow_mp.core import scripts
from pgflow_mp.core.adopt.plan import Change

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.core.adopt.situation import Situation

__all__ = ["completed"]

# Whoever writes tasks works them off, or writes rows by hand; the functions that do it now use tables of ours too.
_WRITERS: Final = """
select distinct coalesce(quote_ident(r.rolname), 'public')
from pg_catalog.pg_class as c
cross join lateral pg_catalog.aclexplode(c.relacl) as a
left join pg_catalog.pg_roles as r on r.oid = a.grantee
where c.oid = 'pgflow.step_tasks'::regclass
  and a.privilege_type in ('INSERT', 'UPDATE')
  and a.grantee <> c.relowner
order by 1
"""
_RIGHTS: Final = (
    "grant usage on schema pgflow_mp to {role}",
    "grant select on all tables in schema pgflow_mp to {role}",
    "grant insert, update on pgflow_mp.workers, pgflow_mp.carriers to {role}",
    "alter default privileges in schema pgflow_mp grant select on tables to {role}",
)
# Columns that the statement below says, or that stay.
_SAID: Final = frozenset(
    {"only_row", "version", "content_hash", "functions", "package_version", "pgmq", "installed_at", "updated_at"}
)


def completed(now: Situation) -> Iterator[Change]:
    """Rights, first rows, and the row that says what is installed."""
    for (role,) in now.rows(_WRITERS):
        rights = tuple(right.format(role=role) for right in _RIGHTS)
        yield Change("rights", f"let {role}, which may write tasks, use schema pgflow_mp", rights)
    for table, columns, values in now.blueprint.rows:
        if table not in now.there.relations:
            statement = f"insert into {table} ({columns}) values ({values})"  # noqa: S608 - our own rows
            yield Change("data", f"{table}: the row of a fresh install", (statement,))
    yield Change("stamps", "remember that pgflow-mp installed this", (_remembered(now),))


def _remembered(now: Situation) -> str:
    installed = now.wanted.relations["pgflow_mp.installed"]
    made = ",\n  ".join(f"'{signature.replace(', ', ',')}'" for signature in sorted(now.wanted.functions))
    # What an install beside says of the core that it stands beside.
    others = "".join(f",\n    {name} = default" for name in installed.columns if name not in _SAID)
    digest = scripts.content_hash(now.blueprint.functions)
    return f"""insert into pgflow_mp.installed (version, content_hash, functions, package_version, pgmq)
values ({now.blueprint.version}, '{digest}', array[
  {made}
], '{pgflow_mp.__version__}', '{now.pgmq}')
on conflict (only_row) do update
set version = excluded.version,
    content_hash = excluded.content_hash,
    functions = excluded.functions,
    package_version = excluded.package_version{others},
    updated_at = now()"""  # noqa: S608 - our own values
