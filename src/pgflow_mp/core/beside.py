"""Our functions on a schema pgflow that somebody else made, of which nothing is changed.

All that Python calls are functions of schema `pgflow_mp`. On a database of our own some of them stand on functions and
columns of the contract in schema `pgflow` as we make it. Beside a foreign schema the same files are *rendered*:

- A function that we would create in schema pgflow, and that ours call, is created in `pgflow_mp` under its name. Those
  that only workers of other languages call are left out: they have their own.
- A table that lacks columns which ours have is replaced by an updatable view ``pgflow_mp.core_<table>`` of it, which
  has them as well (`FILLS`). Ids of rows and of their writers (``ctid``, ``xmin``) come through, so the plans stay what
  they are. What is written to such a column goes where a trigger of the view puts it (files with ``instead of``).
- A line that begins with ``--beside:`` is a statement here, and a comment where the contract is ours.
- A file in ``beside/every`` takes the place of the file of its name, or adds one; so does one in
  ``beside/without/<table>.<column>`` where the core lacks the column, or in ``without/step_tasks.status.cancelled``
  where tasks lack that status. Of several the last counts, in the order of `FILLS`.
- A name that must stay as it is, a function or table of the core itself, is written ``"pgflow".name``.

What cannot be resolved is refused when it is rendered, not when a task meets it: every name in schema pgflow must be a
table, a type or a function that is there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.rows import tuple_row

from pgflow_mp.core import scripts
from pgflow_mp.core.scripts import Script
from pgflow_mp.errors import InstallError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from importlib.resources.abc import Traversable

    import psycopg

    from pgflow_mp.core.generation import Core

__all__ = ["FILLS", "render", "replace_views", "views"]

# What a step has made, where only its tasks tell (core O-1).
_OUTPUT = """case when core.status = 'completed' then case
  (select s.step_type from pgflow.steps as s where s.flow_slug = core.flow_slug and s.step_slug = core.step_slug)
  when 'map' then (
    select coalesce(jsonb_agg(coalesce(t.output, 'null') order by t.task_index), '[]')
    from pgflow.step_tasks as t where t.run_id = core.run_id and t.step_slug = core.step_slug)
  else (
    select t.output
    from pgflow.step_tasks as t where t.run_id = core.run_id and t.step_slug = core.step_slug and t.task_index = 0)
end end"""
_REQUEUES = """(select kept.{} from pgflow_mp.task_requeues as kept
  where kept.run_id = core.run_id and kept.step_slug = core.step_slug and kept.task_index = core.task_index)"""

FILLS: Mapping[str, Mapping[str, str]] = {
    "flows": {
        "queue_mode": "'flow'::text",
        "flow_type": "coalesce((select kept.flow_type from pgflow_mp.flow_types as kept"
        " where kept.flow_slug = core.flow_slug), 'flow')",
    },
    "steps": {
        "queue_name": "lower(core.flow_slug)",
        "required_input_pattern": "null::jsonb",
        "forbidden_input_pattern": "null::jsonb",
        "when_unmet": "'skip'::text",
        "when_exhausted": "'fail'::text",
    },
    "step_states": {
        "output": _OUTPUT,
        "skip_reason": "null::text",
        "skipped_at": "null::timestamptz",
    },
    "step_tasks": {
        "queue_name": "lower(core.flow_slug)",
        "requeued_count": f"coalesce({_REQUEUES.format('requeued_count')}, 0)",
        "last_requeued_at": _REQUEUES.format("last_requeued_at"),
        "permanently_stalled_at": "null::timestamptz",
    },
    "workers": {
        "stopped_at": "case when core.last_heartbeat_at = 'epoch' then core.deprecated_at end",
        "pgflow_version": "null::text",
    },
    "worker_functions": {"start_mode": "'http'::text"},
}
"""What a column is where a core has none: an expression over its row, which is called ``core``."""


# Functions with a leading underscore are parts; these are called by themselves (core/queries/clock, tasks).
_CALLED_PARTS = ("_clock", "_requeue_tasks")

# So begins the trigger of a view; no function calls it.
_INSTEAD = "\ninstead of "

_VARIANT_LINE = re.compile(r"^(\s*)--beside: ", re.MULTILINE)
_COMMENT = re.compile(r"--[^\n]*")
_NAME = re.compile(r"(?<![\w.])(pgflow|pgflow_mp)\.(\w+)")
_NAME_OR_COMMENT = re.compile(rf"{_COMMENT.pattern}|{_NAME.pattern}")
_CREATED = re.compile(r"create or replace function (pgflow|pgflow_mp)\.(\w+)\(")

# Each view is kept as a comment on it, as it was written: the catalog has it in other words.
_VIEWS = """
select c.relname::text, coalesce(pg_catalog.obj_description(c.oid, 'pg_class'), '')
from pg_catalog.pg_class as c
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where n.nspname = 'pgflow_mp' and c.relkind = 'v'
"""
_USERS = """
select distinct p.oid::regprocedure::text
from pg_catalog.pg_class as c
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
join pg_catalog.pg_type as t on t.oid = c.reltype
join pg_catalog.pg_depend as d on d.refclassid = 'pg_type'::regclass and d.refobjid in (t.oid, t.typarray)
join pg_catalog.pg_proc as p on d.classid = 'pg_proc'::regclass and p.oid = d.objid
where n.nspname = 'pgflow_mp' and c.relname = %s
"""


def views(core: Core) -> dict[str, str]:
    """Return the views that replace tables which lack columns: the text of each, by the name of the table."""
    made = {}
    for table, fills in FILLS.items():
        missing = [f"{expression} as {column}" for column, expression in fills.items() if not core.has(table, column)]
        if missing and table in core.columns:
            present = ["ctid", "xmin", *core.columns[table]]
            columns = ", ".join([*(f"core.{column}" for column in present), *missing])
            made[table] = f"create view pgflow_mp.core_{table} as select {columns} from pgflow.{table} as core"  # noqa: S608 - names of the catalog
    return made


def replace_views(conn: psycopg.Connection[Any], wanted: Mapping[str, str]) -> None:
    """Make the views of `views` that are not there as they should be, and drop those that are not wanted any more.

    Functions that have a row of a changed view as parameter or result are dropped with it: they are made anew next.
    """
    cursor = conn.cursor(row_factory=tuple_row)
    there = {name.removeprefix("core_"): text for name, text in cursor.execute(_VIEWS).fetchall()}
    for table in there:
        if wanted.get(table) != there[table]:
            for (signature,) in cursor.execute(_USERS, (f"core_{table}",)).fetchall():
                conn.execute(f"drop function {signature}".encode())
            conn.execute(f"drop view pgflow_mp.core_{table}".encode())
    for table, text in wanted.items():
        if there.get(table) != text:
            conn.execute(text.encode())
            conn.execute(sql.SQL("comment on view {} is {}").format(sql.Identifier("pgflow_mp", f"core_{table}"), text))


def render(folder: Traversable, core: Core) -> list[Script]:
    """Return the function files as they are run beside a foreign schema, by name.

    Args:
        folder: What `scripts.root` returns.
        core: The foreign core.

    Raises:
        InstallError: A file names something of schema pgflow that is not there.
    """
    files = _files(folder, core)
    wanted = _needed(files)
    ours = {name for file in wanted for schema, name in _created(file) if schema == "pgflow_mp"}
    moved = {name for file in wanted for schema, name in _created(file) if schema == "pgflow"}
    if both := moved & ours:
        raise InstallError(f"two functions would have the name {', '.join(sorted(both))} in schema pgflow_mp")
    replaced = views(core)
    functions = {call.partition("(")[0] for call in core.calls}

    def place(match: re.Match[str]) -> str:
        schema, name = match.groups()
        if schema != "pgflow":  # our own, or a comment
            return match[0]
        if name in moved:
            return f"pgflow_mp.{name}"
        if name in replaced:
            return f"pgflow_mp.core_{name}"
        if name in core.columns or name in functions:
            return match[0]
        raise InstallError(f"pgflow-mp needs {match[0]}, which {core.name} does not have")

    return [Script(file.name, _NAME_OR_COMMENT.sub(place, file.sql)) for file in wanted]


def _files(folder: Traversable, core: Core) -> list[Script]:
    """Return the files that hold for this core, each with what is different there."""
    found = {script.function: script for script in scripts.functions(folder, realtime=core.realtime)}
    for place in ("every", *(f"without/{what}" for what in _lacking(core))):
        found |= {script.function: script for script in scripts.variants(folder, place)}
    return [
        Script(script.name, _VARIANT_LINE.sub(r"\1", script.sql))
        for script in sorted(found.values(), key=lambda script: script.name)
    ]


def _lacking(core: Core) -> list[str]:
    """Return what a core lacks, as the folders below ``beside/without`` are called."""
    columns = [f"{table}.{column}" for table, fills in FILLS.items() for column in fills if not core.has(table, column)]
    return columns if core.hardened else [*columns, "step_tasks.status.cancelled"]


def _needed(files: Iterable[Script]) -> list[Script]:
    """Return the files of our own functions that are called from outside, and of all that those call."""
    by_function = {created: file for file in files for created in _created(file)}
    names: dict[str, Script] = {}
    left: list[Script] = [
        file
        for (schema, name), file in by_function.items()
        if schema == "pgflow_mp" and (not name.startswith("_") or name in _CALLED_PARTS or _INSTEAD in file.sql)
    ]
    while left:
        file = left.pop()
        if file.name not in names:
            names[file.name] = file
            left += [by_function[called] for called in _named(file) if called in by_function]
    return sorted(names.values(), key=lambda file: file.name)


def _created(file: Script) -> list[tuple[str, str]]:
    return [(schema, name) for schema, name in _CREATED.findall(file.sql)]


def _named(file: Script) -> set[tuple[str, str]]:
    return set(_NAME.findall(_COMMENT.sub("", file.sql)))
