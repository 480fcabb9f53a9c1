"""What an examination asks beyond a health check; of the catalog, so that it can be asked of any database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgflow_mp.core.statement import Row, Statement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

__all__ = ["Installed", "OldTransaction", "Surroundings", "installed", "old_transactions", "surroundings"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A database and what is in it, as anybody may see it.

    Attributes:
        server_version: Of PostgreSQL.
        database: Its name.
        role: Who asks.
        read_only: Whether it is a standby.
        owner: Who owns schema ``pgflow_mp``; None where there is none.
        pg_cron: Its version; None where it is not installed.
        has_realtime: Whether there is a ``realtime.send``.
        may_install: Whether the role may change what is installed.
        may_work: Whether it may work tasks off.
        may_start: Whether it may start and read runs.
    """

    server_version: str
    database: str
    role: str
    read_only: bool
    owner: str | None
    pg_cron: str | None
    has_realtime: bool
    may_install: bool
    may_work: bool
    may_start: bool


@dataclass(frozen=True, slots=True)
class Installed:
    """What `install` left, of which `Installation` tells the rest.

    Attributes:
        content_hash: Of the files of all functions.
        package_version: Of the pgflow-mp that installed last.
        version: Of the tables.
        pgmq: How pgmq came here.
        installed_at: When it was installed first.
        updated_at: When it was installed last.
        core: Beside whose core the functions were made; None where it is ours.
        core_fingerprint: What that core was; None where it is ours.
    """

    content_hash: str
    package_version: str
    version: int
    pgmq: str
    installed_at: datetime
    updated_at: datetime
    core: str | None
    core_fingerprint: str | None


@dataclass(frozen=True, slots=True)
class OldTransaction:
    """A transaction that has been open for long: no row that it may still see is cleaned up.

    Attributes:
        pid: The server's process.
        seconds: How long it has been open.
        application: What its client calls itself.
        role: Who opened it.
        state: What it does, such as ``idle in transaction``.
    """

    pid: int
    seconds: float
    application: str
    role: str
    state: str


# Things are looked up in the catalog: by name (to_regclass) a role without usage of the schema would be refused.
_SURROUNDINGS = r"""
with thing as (
  select n.nspname || '.' || c.relname as name, c.oid
  from pg_catalog.pg_class as c
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
  where (n.nspname, c.relname) = ('pgflow', 'step_tasks')
), call as (
  select n.nspname || '.' || p.proname as name, p.oid, n.oid as schema,
         pg_catalog.oidvectortypes(p.proargtypes) as arguments
  from pg_catalog.pg_proc as p
  join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
  where (n.nspname, p.proname) in (('realtime', 'send'), ('pgflow_mp', 'start_flows'))
), ours as (
  select n.nspowner as owner from pg_catalog.pg_namespace as n where n.nspname = 'pgflow_mp'
)
select
  current_setting('server_version'), current_database(), current_user, pg_catalog.pg_is_in_recovery(),
  (select pg_catalog.pg_get_userbyid(owner) from ours),
  (select e.extversion from pg_catalog.pg_extension as e where e.extname = 'pg_cron'),
  exists (select from call where name = 'realtime.send' and arguments = 'jsonb, text, text, boolean'),
  coalesce(
    (select pg_catalog.pg_has_role(owner, 'USAGE') from ours),
    pg_catalog.has_database_privilege(current_database(), 'CREATE')
  ),
  coalesce(
    (select pg_catalog.has_table_privilege(oid, 'UPDATE') from thing where name = 'pgflow.step_tasks'), false
  ),
  coalesce(
    (
      select pg_catalog.has_schema_privilege(schema, 'USAGE') and pg_catalog.has_function_privilege(oid, 'EXECUTE')
      from call
      where name = 'pgflow_mp.start_flows'
    ),
    false
  )
"""


def surroundings() -> Statement[Surroundings]:
    """Look around; needs no right and nothing installed."""
    return Statement(_SURROUNDINGS, (), lambda found: Surroundings(*found[0]))


# The table of an earlier version lacks the last columns.
_INSTALLED = """
select i.content_hash, i.package_version, i.version, i.pgmq, i.installed_at, i.updated_at,
       to_jsonb(i) ->> 'core', to_jsonb(i) ->> 'core_fingerprint'
from pgflow_mp.installed as i
"""


def installed() -> Statement[Installed]:
    """Read what `install` noted; needs the right to read our tables."""
    return Statement(_INSTALLED, (), lambda found: Installed(*found[0]))


_OLD = """
select a.pid, extract(epoch from clock_timestamp() - a.xact_start)::double precision,
       coalesce(a.application_name, ''), coalesce(a.usename, ''), coalesce(a.state, '')
from pg_catalog.pg_stat_activity as a
where a.datname = current_database()
  and a.xact_start < clock_timestamp() - make_interval(secs => %s::double precision)
  and a.backend_type = 'client backend'
order by a.xact_start
"""


def old_transactions(seconds: float) -> Statement[list[OldTransaction]]:
    """List the transactions that have been open for longer, as far as the role may see those of others."""

    def read(rows: Sequence[Row]) -> list[OldTransaction]:
        return [OldTransaction(*row) for row in rows]

    return Statement(_OLD, (seconds,), read)
