"""What two schemas hold, read from the catalog into plain data that can be compared.

The same queries read the schemas of a database and the blueprint of ours (see `blueprint`), which lies in two schemas
of other names; their names are put back in every text. Everything is written as Postgres itself writes it, with
search_path empty, so two objects are the same exactly when their texts are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg.rows import tuple_row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import psycopg

__all__ = ["Catalog", "Column", "Constraint", "Function", "Index", "Relation", "read"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, or an attribute of a row type."""

    name: str
    type: str
    not_null: bool
    default: str | None
    generated: bool

    @property
    def must_be_given(self) -> bool:
        """Whether an insert that does not name the column fails."""
        return self.not_null and self.default is None and not self.generated

    @property
    def definition(self) -> str:
        """The column as `create table` and `add column` take it."""
        default = f" default {self.default}" if self.default is not None else ""
        return f"{self.name} {self.type}{default}{' not null' if self.not_null else ''}"


@dataclass(frozen=True, slots=True)
class Constraint:
    """A constraint of a table.

    Attributes:
        kind: c check, f foreign key, p primary key, u unique, x exclusion.
        definition: What follows ``constraint NAME``; never ends in NOT VALID.
        expression: Of a check: the condition alone, as it stands in the catalog that was read.
        columns: Those that it is about, in its order.
        parent: The table that a foreign key refers to, with its schema.
        parent_columns: The columns there.
    """

    name: str
    kind: str
    definition: str
    validated: bool
    expression: str | None
    columns: tuple[str, ...]
    parent: str | None
    parent_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """An index that is no constraint's."""

    name: str
    definition: str
    unique: bool
    expressions: str
    condition: str | None


@dataclass(frozen=True, slots=True)
class Relation:
    """A table (r), partitioned table (p), view (v), materialized view (m), sequence (S) or row type (c)."""

    schema: str
    name: str
    kind: str
    owner: str
    comment: str | None
    options: tuple[str, ...]
    definition: str | None  # of a view
    columns: Mapping[str, Column] = field(default_factory=dict)
    constraints: Mapping[str, Constraint] = field(default_factory=dict)
    indexes: Mapping[str, Index] = field(default_factory=dict)
    triggers: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Its name with its schema."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Function:
    """A function or procedure.

    Attributes:
        types: Of the parameters: what tells overloads apart.
        arguments: Names, types and defaults, as declared.
        source: The body, which a test compares.
        settings: Language, volatility, whose rights, pinned settings; compared as one text.
        grantees: Roles that may execute it, quoted; None when nobody ever granted or revoked.
    """

    schema: str
    name: str
    types: str
    arguments: str
    result: str
    source: str
    settings: str
    owner: str
    grantees: str | None

    @property
    def path(self) -> str:
        """Its name with its schema."""
        return f"{self.schema}.{self.name}"

    @property
    def signature(self) -> str:
        """What names it alone: schema, name and types."""
        return f"{self.path}({self.types})"


@dataclass(frozen=True, slots=True)
class Catalog:
    """What both schemas hold: relations by path, in the order in which they were made; functions by signature."""

    relations: Mapping[str, Relation]
    functions: Mapping[str, Function]


_RELATIONS = """
select c.oid::bigint, n.nspname, c.relname, c.relkind::text, pg_get_userbyid(c.relowner),
       obj_description(c.oid, 'pg_class'), coalesce(c.reloptions, '{}'),
       case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) end
from pg_catalog.pg_class as c
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where n.nspname = any (%(schemas)s)
  and c.relkind in ('r', 'p', 'v', 'm', 'S', 'c')
order by c.oid
"""

_COLUMNS = """
select a.attrelid::bigint, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       pg_get_expr(d.adbin, d.adrelid), a.attgenerated <> '' or a.attidentity <> ''
from pg_catalog.pg_attribute as a
join pg_catalog.pg_class as c on c.oid = a.attrelid
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
left join pg_catalog.pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
where n.nspname = any (%(schemas)s)
  and c.relkind in ('r', 'p', 'v', 'm', 'c')
  and a.attnum > 0
  and not a.attisdropped
order by a.attrelid, a.attnum
"""

# Not null is said with the column; PostgreSQL 18 has it as a constraint too.
_CONSTRAINTS = """
select k.conrelid::bigint, k.conname, k.contype::text,
       regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', ''), k.convalidated,
       case when k.contype = 'c' then pg_get_expr(k.conbin, k.conrelid) end,
       array(
         select a.attname::text
         from unnest(k.conkey) with ordinality as key (number, place)
         join pg_catalog.pg_attribute as a on a.attrelid = k.conrelid and a.attnum = key.number
         order by key.place
       ),
       case when k.confrelid <> 0 then k.confrelid::regclass::text end,
       array(
         select a.attname::text
         from unnest(k.confkey) with ordinality as key (number, place)
         join pg_catalog.pg_attribute as a on a.attrelid = k.confrelid and a.attnum = key.number
         order by key.place
       )
from pg_catalog.pg_constraint as k
join pg_catalog.pg_class as c on c.oid = k.conrelid
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where n.nspname = any (%(schemas)s)
  and k.contype in ('c', 'f', 'p', 'u', 'x')
order by k.conrelid, k.oid
"""

_INDEXES = """
select i.indrelid::bigint, x.relname, pg_get_indexdef(i.indexrelid), i.indisunique,
       (
         select string_agg(pg_get_indexdef(i.indexrelid, place, true), ', ' order by place)
         from generate_series(1, i.indnkeyatts) as place
       ),
       pg_get_expr(i.indpred, i.indrelid)
from pg_catalog.pg_index as i
join pg_catalog.pg_class as c on c.oid = i.indrelid
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
join pg_catalog.pg_class as x on x.oid = i.indexrelid
where n.nspname = any (%(schemas)s)
  and not exists (
    select from pg_catalog.pg_constraint as k where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')
  )
order by i.indrelid, i.indexrelid
"""

_TRIGGERS = """
select t.tgrelid::bigint, t.tgname, pg_get_triggerdef(t.oid)
from pg_catalog.pg_trigger as t
join pg_catalog.pg_class as c on c.oid = t.tgrelid
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where n.nspname = any (%(schemas)s)
  and not t.tgisinternal
order by t.tgrelid, t.tgname
"""

_FUNCTIONS = """
select n.nspname, p.proname, oidvectortypes(p.proargtypes), pg_get_function_arguments(p.oid),
       coalesce(pg_get_function_result(p.oid), ''), p.prosrc,
       concat_ws(' ', l.lanname, p.prokind, p.provolatile, p.proparallel, p.prosecdef, p.proisstrict, p.proconfig),
       pg_get_userbyid(p.proowner), granted.grantees
from pg_catalog.pg_proc as p
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
join pg_catalog.pg_language as l on l.oid = p.prolang
left join lateral (
  select string_agg(distinct coalesce(quote_ident(r.rolname), 'public'), ', ') as grantees
  from pg_catalog.aclexplode(p.proacl) as a
  left join pg_catalog.pg_roles as r on r.oid = a.grantee
  where a.privilege_type = 'EXECUTE'
) as granted on true
where n.nspname = any (%(schemas)s)
order by n.nspname, p.proname, oidvectortypes(p.proargtypes) collate "C"
"""


def read(conn: psycopg.Connection[Any], schemas: Mapping[str, str]) -> Catalog:
    """Read the schemas; search_path must be empty.

    Args:
        conn: A connection.
        schemas: The real name of each schema, by the name that it has in this database.
    """

    def real(text: Any) -> Any:
        if isinstance(text, str):
            for here, name in schemas.items():
                text = text.replace(f"{here}.", f"{name}.")
        return text

    def ask(query: str) -> list[tuple[Any, ...]]:
        found = conn.cursor(row_factory=tuple_row).execute(query.encode(), {"schemas": list(schemas)})
        return found.fetchall()

    parts = {query: _grouped(ask(query)) for query in (_COLUMNS, _CONSTRAINTS, _INDEXES, _TRIGGERS)}
    relations = [
        Relation(
            schemas[schema],
            name,
            kind,
            owner,
            comment,
            tuple(sorted(options)),
            real(definition),
            columns={row[0]: Column(*map(real, row)) for row in parts[_COLUMNS].get(oid, ())},
            constraints={row[0]: _constraint(row, real) for row in parts[_CONSTRAINTS].get(oid, ())},
            indexes={row[0]: Index(*map(real, row)) for row in parts[_INDEXES].get(oid, ())},
            triggers={row[0]: real(row[1]) for row in parts[_TRIGGERS].get(oid, ())},
        )
        for oid, schema, name, kind, owner, comment, options, definition in ask(_RELATIONS)
    ]
    functions = [Function(schemas[row[0]], *map(real, row[1:])) for row in ask(_FUNCTIONS)]
    return Catalog(
        {relation.path: relation for relation in relations},
        {function.signature: function for function in functions},
    )


def _grouped(rows: list[tuple[Any, ...]]) -> dict[int, list[tuple[Any, ...]]]:
    """The rows without their first column, by it."""
    groups: dict[int, list[tuple[Any, ...]]] = {}
    for oid, *rest in rows:
        groups.setdefault(oid, []).append(tuple(rest))
    return groups


def _constraint(row: tuple[Any, ...], real: Callable[[Any], Any]) -> Constraint:
    name, kind, definition, validated, expression, columns, parent, parent_columns = row
    return Constraint(
        name, kind, real(definition), validated, expression, tuple(columns), real(parent), tuple(parent_columns)
    )
