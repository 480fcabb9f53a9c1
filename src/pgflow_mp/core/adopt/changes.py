"""From what is there and what is wanted to the statements between them.

The order is that of generations SU-10, with what depends on what: obsolete functions, constraints and indexes go,
columns are added empty, filled, and then made NOT NULL; all functions are made anew; constraints, indexes and stamps
follow. Existing columns stay where they are and new ones come behind them, so `step_tasks.status` stays the sixth
(generations 7.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from pgflow_mp.core.adopt import data, routines
from pgflow_mp.core.adopt.known import BESIDE, CONSTRAINTS, INDEXES, VIEW_BESIDE
from pgflow_mp.core.adopt.plan import Change, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.core.adopt.catalog import Constraint, Relation
    from pgflow_mp.core.adopt.situation import Situation

__all__ = ["planned"]


def planned(now: Situation) -> Iterator[Change]:
    """Every change between the tables, types, views and functions that are there and those of a fresh install."""
    yield from routines.gone(now)
    yield from _views_gone(now)
    yield from _constraints_gone(now)
    yield from _indexes_gone(now)
    yield from _storage(now)
    yield from _attributes(now)
    yield from _new_relations(now)
    yield from _new_columns(now)
    yield from data.filled(now)
    yield from _rest_gone(now)
    yield from _column_rules(now)
    yield from routines.made(now)
    yield from _new_constraints(now)
    yield from _new_indexes(now)
    yield from _stamps(now)


def _both(now: Situation, kind: str) -> Iterator[tuple[Relation, Relation]]:
    """What is there and what is wanted, of each relation that is in both."""
    for path, wanted in now.wanted.relations.items():
        if wanted.kind == kind and path in now.there.relations:
            yield now.there.relations[path], wanted


def _views_gone(now: Situation) -> Iterator[Change]:
    """Views that look otherwise than ours, and those through which an install beside sees the tables."""
    for path, there in reversed([*now.there.relations.items()]):
        wanted = now.wanted.relations.get(path)
        if path.startswith(VIEW_BESIDE):
            yield Change("tables", f"drop view {path}", (f"drop view {path} cascade",))
        elif there.kind == "v" and wanted is not None and there.definition != wanted.definition:
            yield Change("stamps", f"drop view {path}, to be made anew", (f"drop view {path}",))


def _rest_gone(now: Situation) -> Iterator[Change]:
    """What only an install beside needs, after its data were carried over."""
    for path, there in now.there.relations.items():
        wanted = now.wanted.relations.get(path)
        if path in BESIDE:
            yield Change("tables", f"drop table {path}", (f"drop table {path}",))
        elif there.schema == "pgflow_mp" and wanted is not None:
            for name in sorted(there.columns.keys() - wanted.columns.keys()):
                yield Change("tables", f"drop column {path}.{name}", (f"alter table {path} drop column {name}",))


def _constraints_gone(now: Situation) -> Iterator[Change]:
    for there, wanted in _both(now, "r"):
        for name, constraint in there.constraints.items():
            other = wanted.constraints.get(name)
            new_name = _renamed(constraint, there, wanted)
            drop = (f"alter table {there.path} drop constraint {quoted(name)}",)
            if (there.path, name) in CONSTRAINTS:
                yield Change("constraints", f"{there.path}: drop constraint {name}, a wider one takes its place", drop)
            elif other is not None and other.definition != constraint.definition:
                yield Change("constraints", f"{there.path}: drop constraint {name}, to be made anew", drop)
            elif other is None and new_name is not None:
                yield Change(
                    "constraints",
                    f"{there.path}: rename constraint {name} to {new_name}",
                    (f"alter table {there.path} rename constraint {quoted(name)} to {new_name}",),
                )


def _renamed(constraint: Constraint, there: Relation, wanted: Relation) -> str | None:
    """The name that ours has for a constraint that is there under another."""
    for name, other in wanted.constraints.items():
        if name not in there.constraints and other.definition == constraint.definition:
            return name
    return None


def _attributes(now: Situation) -> Iterator[Change]:
    for there, wanted in _both(now, "c"):
        new = [column for name, column in wanted.columns.items() if name not in there.columns]
        if new:
            names = ", ".join(column.name for column in new)
            added = ", ".join(f"add attribute {column.name} {column.type}" for column in new)
            yield Change("types", f"add {names} to type {there.path}", (f"alter type {there.path} {added}",))


def _new_relations(now: Situation) -> Iterator[Change]:
    if not now.rows("select from pg_catalog.pg_namespace where nspname = 'pgflow_mp'"):
        statements = ("create schema pgflow_mp", "revoke all on schema pgflow_mp from public")
        yield Change("tables", "create schema pgflow_mp", statements)
    for path, wanted in now.wanted.relations.items():
        if path in now.there.relations:
            continue
        if wanted.kind == "S":
            yield Change("tables", f"create sequence {path}", (f"create sequence {path}",))
        elif wanted.kind == "c":
            attributes = ", ".join(f"{column.name} {column.type}" for column in wanted.columns.values())
            yield Change("types", f"create type {path}", (f"create type {path} as ({attributes})",))
        elif wanted.kind == "r":
            yield Change("tables", f"create table {path}", tuple(_create_table(wanted)))


def _create_table(table: Relation) -> Iterator[str]:
    parts = [column.definition for column in table.columns.values()]
    parts += [f"constraint {name} {constraint.definition}" for name, constraint in table.constraints.items()]
    storage = f" with ({', '.join(table.options)})" if table.options else ""
    content = ",\n  ".join(parts)
    yield f"create table {table.path} (\n  {content}\n){storage}"
    for index in table.indexes.values():
        yield index.definition


def _new_columns(now: Situation) -> Iterator[Change]:
    """Those that have no default come without NOT NULL, which follows when they are filled."""
    for there, wanted in _both(now, "r"):
        for name, column in wanted.columns.items():
            if name not in there.columns:
                filled_later = column.not_null and column.default is None
                definition = f"{name} {column.type}" if filled_later else column.definition
                yield Change(
                    "tables",
                    f"add column {there.path}.{name}: {definition.partition(' ')[2]}",
                    (f"alter table {there.path} add column {definition}",),
                )


def _column_rules(now: Situation) -> Iterator[Change]:
    for there, wanted in _both(now, "r"):
        for name, column in wanted.columns.items():
            here = there.columns.get(name)
            place = f"alter table {there.path} alter column {name}"
            if here is not None and here.default != column.default:
                rule = f"set default {column.default}" if column.default is not None else "drop default"
                yield Change("tables", f"{there.path}.{name}: {rule}", (f"{place} {rule}",))
            is_not_null = here.not_null if here is not None else column.default is not None and column.not_null
            if is_not_null != column.not_null:
                rule = "set not null" if column.not_null else "drop not null"
                yield Change("tables", f"{there.path}.{name}: {rule}", (f"{place} {rule}",))


def _new_constraints(now: Situation) -> Iterator[Change]:
    for there, wanted in _both(now, "r"):
        for name, constraint in wanted.constraints.items():
            here = there.constraints.get(name)
            has_other_name = any(_renamed(other, there, wanted) == name for other in there.constraints.values())
            same = has_other_name or (here is not None and here.definition == constraint.definition)
            broken = (there.path, name) in now.broken
            if same and not (broken and here is not None and here.validated):
                continue
            statements = [f"alter table {there.path} drop constraint {name}"] if same else []
            definition = _but_for_what_is_there(now, there.path, constraint) if broken else constraint.definition
            statements.append(f"alter table {there.path} add constraint {name} {definition}")
            held = ", which only new rows are held to" if broken else ""
            yield Change("constraints", f"{there.path}: constraint {name}{held}", tuple(statements))


def _but_for_what_is_there(now: Situation, path: str, constraint: Constraint) -> str:
    """A check that takes the values which break it today, by name, and no other (SU-9).

    NOT VALID would do for rows that nobody touches; but it refuses every update of them, also that of another column,
    with which a worker of Elixir starts (generations 8.2), and a flow could not be made again under its slug.
    """
    (column,) = constraint.columns
    breaking = f"select distinct {column} from {path} where not ({constraint.expression}) order by 1"  # noqa: S608
    values = sql.Literal([row[0] for row in now.rows(breaking)]).as_string(now.conn)
    return f"{constraint.definition.removesuffix(')')} OR {column} = ANY ({values}))"


def _indexes_gone(now: Situation) -> Iterator[Change]:
    """Before rows are written: what is not there is not written to."""
    for there, wanted in _both(now, "r"):
        for name, index in there.indexes.items():
            other = wanted.indexes.get(name)
            obsolete = other is None and (name in INDEXES or there.schema == "pgflow_mp")
            if obsolete or (other is not None and other.definition != index.definition):
                why = ": nothing of ours needs it" if obsolete else ", to be made anew"
                drop = (f"drop index {there.schema}.{name}",)
                yield Change("indexes", f"drop index {name} of {there.path}{why}", drop)


def _new_indexes(now: Situation) -> Iterator[Change]:
    for there, wanted in _both(now, "r"):
        for name, index in wanted.indexes.items():
            here = there.indexes.get(name)
            if here is None or here.definition != index.definition:
                unique = "unique index" if index.unique else "index"
                yield Change("indexes", f"create {unique} {name} on {there.path}", (index.definition,))


def _storage(now: Situation) -> Iterator[Change]:
    """Room in each page, so that updates stay on it (tables.sql)."""
    for there, wanted in _both(now, "r"):
        missing = [option for option in wanted.options if option not in there.options]
        if missing:
            options = ", ".join(missing)
            yield Change(
                "tables",
                f"{there.path}: {options}, for rows that are written from now on",
                (f"alter table {there.path} set ({options})",),
            )


def _stamps(now: Situation) -> Iterator[Change]:
    """The views that workers and migrators of other languages look for (generations 7.1)."""
    for path, wanted in now.wanted.relations.items():
        if wanted.kind != "v":
            continue
        there = now.there.relations.get(path)
        statements = []
        if there is None or there.definition != wanted.definition:
            statements.append(f"create view {path} as {(wanted.definition or '').strip()}".rstrip(";"))
        if there is None or statements or there.comment != wanted.comment:
            statements.append(f"comment on view {path} is '{wanted.comment}'")
        if statements:
            yield Change("stamps", f"stamp {path}: {wanted.comment}", tuple(statements))
