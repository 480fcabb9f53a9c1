"""A comparable picture of schemas pgflow and pgmq: taken before and after, it shows whether anything was changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

__all__ = ["catalog"]

# Every object as (kind, name, definition). The rows' own xmin is left out: statistics and vacuum do not touch it, but
# `alter` of something back to what it was would show, and is harmless. Triggers include the internal ones, which are
# what a foreign key from somebody else's table puts on these tables.
_OBJECTS = """
with places as (
  select n.oid, n.nspname from pg_namespace as n where n.nspname = any (%(schemas)s)
)
select 'schema', p.nspname, concat_ws(' ', n.nspowner::regrole, n.nspacl, obj_description(n.oid, 'pg_namespace'))
from places as p
join pg_namespace as n on n.oid = p.oid
union all
select 'relation', c.oid::regclass::text, concat_ws(
  ' ', c.relkind, c.relpersistence, c.relowner::regrole, c.relacl, c.reloptions, c.relrowsecurity,
  c.relforcerowsecurity, c.relhastriggers, c.relreplident, obj_description(c.oid, 'pg_class'),
  case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) end,
  case when c.relkind = 'i' then pg_get_indexdef(c.oid) end
)
from pg_class as c
join places as p on p.oid = c.relnamespace
union all
select 'column', format('%%s.%%s', c.oid::regclass, a.attname), concat_ws(
  ' ', a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attacl,
  a.attstattarget, a.attstorage, pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
)
from pg_attribute as a
join pg_class as c on c.oid = a.attrelid
join places as p on p.oid = c.relnamespace
left join pg_attrdef as d on d.adrelid = c.oid and d.adnum = a.attnum
where a.attnum > 0
union all
select 'constraint', format('%%s.%%s', coalesce(nullif(k.conrelid, 0)::regclass::text, '-'), k.conname), concat_ws(
  ' ', pg_get_constraintdef(k.oid), k.convalidated, k.condeferrable, obj_description(k.oid, 'pg_constraint')
)
from pg_constraint as k
join places as p on p.oid = k.connamespace
union all
select 'reference', format('%%s.%%s', k.conrelid::regclass, k.conname), k.confrelid::regclass::text
from pg_constraint as k
join pg_class as c on c.oid = k.confrelid
join places as p on p.oid = c.relnamespace
union all
select 'trigger', format('%%s.%%s', c.oid::regclass, t.tgname), concat_ws(' ', t.tgenabled, pg_get_triggerdef(t.oid))
from pg_trigger as t
join pg_class as c on c.oid = t.tgrelid
join places as p on p.oid = c.relnamespace
union all
select 'rule', format('%%s.%%s', c.oid::regclass, r.rulename), pg_get_ruledef(r.oid)
from pg_rewrite as r
join pg_class as c on c.oid = r.ev_class
join places as p on p.oid = c.relnamespace
union all
select 'policy', format('%%s.%%s', c.oid::regclass, l.polname), pg_get_expr(l.polqual, l.polrelid)
from pg_policy as l
join pg_class as c on c.oid = l.polrelid
join places as p on p.oid = c.relnamespace
union all
select 'function', f.oid::regprocedure::text, concat_ws(
  ' ', f.oid, f.proowner::regrole, f.proacl, obj_description(f.oid, 'pg_proc'),
  case when f.prokind = 'a' then f.prorettype::regtype::text else pg_get_functiondef(f.oid) end
)
from pg_proc as f
join places as p on p.oid = f.pronamespace
union all
select 'type', t.oid::regtype::text, concat_ws(
  ' ', t.typtype, t.typowner::regrole, t.typacl, format_type(t.typbasetype, t.typtypmod),
  obj_description(t.oid, 'pg_type')
)
from pg_type as t
join places as p on p.oid = t.typnamespace
union all
select 'default privileges', format('%%s %%s %%s', p.nspname, d.defaclobjtype, d.defaclrole::regrole), d.defaclacl::text
from pg_default_acl as d
join places as p on p.oid = d.defaclnamespace
"""


def catalog(conn: psycopg.Connection[Any], schemas: tuple[str, ...] = ("pgflow", "pgmq")) -> dict[tuple[str, str], str]:
    """Return every object of `schemas` by kind and name, with all of its definition.

    Nothing of it depends on the rows of the tables, except that pgmq makes two tables for each queue.
    """
    found = conn.execute(_OBJECTS, {"schemas": list(schemas)}).fetchall()
    picture = {(kind, name): definition for kind, name, definition in found}
    assert len(picture) == len(found), "two objects have one name"
    return picture
