"""What the catalog tells of a schema pgflow, whoever made it: one statement, which needs no right on anything.

Objects are looked at, never versions (generations 10). They are looked up in the catalog by name and schema: a cast to
``regclass`` would be refused to a role that may not use the schema.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pgflow_mp.core.statement import Row, Statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["catalog_facts"]

# The value by which the platform's own local database is known (core 3.3).
_LOCAL_SECRET = "super-secret-jwt-token-with-at-least-32-characters-long"  # noqa: S105 - published, and of no use elsewhere

_PROBE = """
with home as (
  select n.oid, pg_catalog.pg_get_userbyid(n.nspowner) as owner
  from pg_catalog.pg_namespace as n
  where n.nspname = 'pgflow'
), relation as (
  select c.oid, c.relname, pg_catalog.obj_description(c.oid, 'pg_class') as comment
  from pg_catalog.pg_class as c
  join home on c.relnamespace = home.oid
  where c.relkind in ('r', 'p', 'v', 'c')
), shape as (
  select r.relname, jsonb_agg(jsonb_build_array(a.attname, pg_catalog.format_type(a.atttypid, null)) order by a.attnum)
    as columns
  from relation as r
  join pg_catalog.pg_attribute as a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
  group by r.relname
), call as (
  select n.nspname, p.proname, p.pronargdefaults, p.proargnames,
    (
      select coalesce(string_agg(
        case
          when t.typnamespace = 'pg_catalog'::regnamespace then pg_catalog.format_type(t.oid, null)
          else t.typnamespace::regnamespace || '.' || t.typname
        end,
        ',' order by given.place
      ), '')
      from unnest(p.proargtypes) with ordinality as given (type, place)
      join pg_catalog.pg_type as t on t.oid = given.type
    ) as arguments
  from pg_catalog.pg_proc as p
  join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
  where n.nspname in ('pgflow', 'pgmq') or (n.nspname, p.proname) = ('realtime', 'send')
)
select jsonb_build_object(
  'database', pg_catalog.current_database(),
  'installed', exists (
    select
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where (n.nspname, c.relname) = ('pgflow_mp', 'installed')
  ),
  'schema', (select owner from home),
  'occupied', exists (select from relation) or exists (select from call where nspname = 'pgflow'),
  'stamps', (
    select coalesce(jsonb_object_agg(relname, comment), '{}')
    from relation
    where relname in ('pgflow_version', 'extensions_version') and comment is not null
  ),
  'columns', (select coalesce(jsonb_object_agg(relname, columns), '{}') from shape),
  'calls', (
    select coalesce(jsonb_object_agg(proname || '(' || arguments || ')', pronargdefaults), '{}')
    from call
    where nspname = 'pgflow'
  ),
  'statuses', (
    select pg_catalog.pg_get_constraintdef(k.oid)
    from relation
    join pg_catalog.pg_constraint as k on k.conrelid = relation.oid and k.conname = 'valid_status'
    where relation.relname = 'step_tasks'
  ),
  'telemetry', exists (select from pg_catalog.pg_namespace as n where n.nspname = 'pgflow_telemetry'),
  'realtime', exists (select from call where (nspname, arguments) = ('realtime', 'jsonb,text,text,boolean')),
  'local', coalesce(pg_catalog.current_setting('app.settings.jwt_secret', true) = %s, false),
  'cron', exists (
    select
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where (n.nspname, c.relname) = ('cron', 'job')
  ),
  'pgmq', (
    select jsonb_build_object(
      'extension', (select e.extversion from pg_catalog.pg_extension as e where e.extname = 'pgmq'),
      'conditional', coalesce(bool_or(proname = 'read_with_poll' and 'conditional' = any (proargnames)), false),
      'notify', coalesce(bool_or(proname = 'enable_notify_insert'), false),
      'validates', coalesce(bool_or(proname = 'validate_queue_name'), false),
      'headers', exists (
        select
        from pg_catalog.pg_attribute as a
        join pg_catalog.pg_class as c on c.oid = a.attrelid
        join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
        where (n.nspname, c.relname, a.attname) = ('pgmq', 'message_record', 'headers')
      )
    )
    from call
    where nspname = 'pgmq'
    having count(*) > 0
  )
)::text
"""


def catalog_facts() -> Statement[Mapping[str, Any]]:
    """Read what `generation.Core` is made of, as JSON."""

    def read(rows: Sequence[Row]) -> Mapping[str, Any]:
        facts: Mapping[str, Any] = json.loads(rows[0][0])
        return facts

    return Statement(_PROBE, (_LOCAL_SECRET,), read)
