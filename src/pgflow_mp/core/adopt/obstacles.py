"""What is in the way of an adoption, each in a sentence that says what to do about it.

Nothing is forced: whatever cannot be carried over as it is, is a reason to change nothing at all. Rules: generations
SU-10 (case, length, messages), 9.2 (ambiguous overloads, the row type).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgflow_mp.core.adopt import routines
from pgflow_mp.core.adopt.known import FUNCTIONS, SNIPPETS, VIEW_BESIDE
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.core.adopt.catalog import Function, Relation
    from pgflow_mp.core.adopt.situation import Situation

__all__ = ["found", "of_shape"]

_KINDS: Final = {
    "r": "table", "p": "partitioned table", "v": "view", "m": "materialized view", "S": "sequence", "c": "type"
}  # fmt: skip

_DEPENDENTS: Final = """
select distinct pg_describe_object(d.classid, d.objid, d.objsubid)
from pg_catalog.pg_depend as d
where d.refclassid = %s::regclass
  and d.refobjid = %s::oid
  and d.deptype in ('n', 'a')
  and not exists (  -- a view's own rule
    select from pg_catalog.pg_rewrite as r
    where d.classid = 'pg_rewrite'::regclass and r.oid = d.objid and r.ev_class = d.refobjid
  )
  and (pg_identify_object(d.classid, d.objid, d.objsubid)).identity !~ '\\mpgflow_mp\\.'
order by 1
"""

_COLUMNS_OF_TYPE: Final = """
select format('%%s.%%I', a.attrelid::regclass, a.attname)
from pg_catalog.pg_attribute as a
join pg_catalog.pg_class as c on c.oid = a.attrelid
join pg_catalog.pg_type as t on a.atttypid in (t.oid, t.typarray)
where t.typrelid = to_regclass(%s)
  and c.relkind in ('r', 'p', 'm')
  and not a.attisdropped
order by 1
"""

_CASE_OF_FLOWS: Final = """
select array_agg(flow_slug order by flow_slug collate "C")
from pgflow.flows
group by lower(flow_slug)
having count(*) > 1
"""
_CASE_OF_STEPS: Final = """
select flow_slug, array_agg(step_slug order by step_slug collate "C")
from pgflow.steps
group by flow_slug, lower(step_slug)
having count(*) > 1
"""
_TOO_LONG: Final = "select flow_slug from pgflow.flows where length(flow_slug) > 47 order by 1"
_MESSAGES: Final = """
select {queue}, message_id, count(*)
from pgflow.step_tasks
where message_id is not null
group by 1, 2
having count(*) > 1
order by 1, 2
"""
# Older than 0.12: the input of a task has a key `run`, which later cores do not send (core 8.1).
_OLD_WORKERS: Final = """
select count(*)
from pgflow.workers as w
where w.last_heartbeat_at > now() - interval '30 seconds'
  and w.deprecated_at is null
  and not {ours}
"""


def of_shape(now: Situation) -> Iterator[str]:
    """Whether this is a core at all that ours can follow on; the other checks need what is looked for here."""
    if now.core.reason is not None:
        yield f"{now.core.reason}; a core that is too old is brought to 0.8 or later with its own migrations first."
    if now.installed is None and any(
        path.startswith("pgflow_mp.") for path in (*now.there.relations, *now.there.functions)
    ):
        yield "schema pgflow_mp was not made by pgflow-mp, which needs that name: rename or drop it."
    for path, wanted in now.wanted.relations.items():
        there = now.there.relations.get(path)
        if there is not None and there.kind != wanted.kind:
            kinds = f"a {_KINDS[there.kind]}, where ours has a {_KINDS[wanted.kind]}"
            yield f"{path} is {kinds}: rename or drop it."


def _of_owners(now: Situation) -> Iterator[str]:
    """Definer functions reach the tables as their owner, so one role must own everything."""
    things: list[Relation | Function] = [*now.there.relations.values(), *now.there.functions.values()]
    for thing in things:
        if thing.owner != now.owner:
            yield (
                f"{thing.path} is owned by {thing.owner}, schema pgflow by {now.owner}; let one role own all of it: "
                f'alter ... owner to "{now.owner}", or reassign owned by "{thing.owner}" to "{now.owner}".'
            )
    ((may_create,),) = now.rows("select has_database_privilege(%s, current_database(), 'create')", now.owner)
    if not may_create and not now.rows("select from pg_namespace where nspname = 'pgflow_mp'"):
        yield f'{now.owner} may not create schema pgflow_mp: grant create on database ... to "{now.owner}".'


def found(now: Situation) -> Iterator[str]:
    """Everything else that is in the way."""
    yield from _of_owners(now)
    yield from _of_columns(now)
    yield from _of_constraints(now)
    yield from _of_functions(now)
    yield from _of_dependents(now)
    yield from _of_slugs(now)
    yield from _of_messages(now)
    yield from _of_workers(now)


def _of_columns(now: Situation) -> Iterator[str]:
    for path, wanted in now.wanted.relations.items():
        there = now.there.relations.get(path)
        if there is None or there.kind not in "rc":
            continue
        for name, column in there.columns.items():
            other = wanted.columns.get(name)
            if other is not None and other.type != column.type:
                yield f"{path}.{name} is {column.type}, ours is {other.type}: change its type."
            if there.kind == "r" and other is None and column.must_be_given:
                yield f"{path}.{name} is a column of your own that must be given and has no default: give it one."
        if there.kind == "c" and list(there.columns) != list(wanted.columns)[: len(there.columns)]:
            yield f"type {path} has attributes of your own ({', '.join(there.columns)}): claims return other ones."


def _of_constraints(now: Situation) -> Iterator[str]:
    """Rows that a wanted constraint refuses, and keys that are others than ours."""
    for (path, name), number in now.broken.items():
        wanted = now.wanted.relations[path].constraints[name]
        if not now.is_stricter(path, name):
            rows = counted(number, "row breaks", "rows break")
            yield f"{path}: {rows} constraint {name} ({wanted.definition}): correct or delete them."
    for path, relation in now.wanted.relations.items():
        there = now.there.relations.get(path)
        for name, wanted in relation.constraints.items() if there is not None else ():
            here = there.constraints.get(name) if there is not None else None
            if wanted.kind in "pu" and (here is None or here.definition != wanted.definition):
                has = f"is {here.definition}" if here is not None else "is missing"
                yield f"{path}: key {name} {has}, ours is {wanted.definition}: make it so."


def _of_functions(now: Situation) -> Iterator[str]:
    ours = {function.path for function in now.wanted.functions.values() if function.schema == "pgflow"}
    for signature, function in now.there.functions.items():
        foreign = signature not in now.wanted.functions and signature not in FUNCTIONS | SNIPPETS
        if foreign and function.path in ours:
            yield (
                f"function {signature} has the name of one of ours, and calls would become ambiguous: "
                "drop it, or rename it."
            )


def _of_dependents(now: Situation) -> Iterator[str]:
    """What somebody built on something that cannot be replaced while it stands."""
    gone = [("pg_proc", "function", function.signature) for function in routines.dropped(now)]
    gone += [
        ("pg_class", "view", path)
        for path, there in now.there.relations.items()
        if path.startswith(VIEW_BESIDE)
        or (
            (there.kind == "v" and path in now.wanted.relations)
            and now.wanted.relations[path].definition != there.definition
        )
    ]
    for catalog, kind, name in gone:
        oid = "to_regprocedure" if kind == "function" else "to_regclass"
        for (thing,) in now.rows(_DEPENDENTS.replace("%s::oid", f"{oid}(%s)::oid"), catalog, name):
            yield f"{thing} depends on {kind} {name}, which is made anew: drop it, adopt, and create it again."
    for path, wanted in now.wanted.relations.items():
        there = now.there.relations.get(path)
        if wanted.kind == "c" and there is not None and len(there.columns) < len(wanted.columns):
            for (column,) in now.rows(_COLUMNS_OF_TYPE, path):
                yield f"column {column} is of type {path}, which gets an attribute: make it jsonb, or drop it."


def _of_slugs(now: Situation) -> Iterator[str]:
    for (slugs,) in now.rows(_CASE_OF_FLOWS):
        names = ", ".join(slugs)
        yield (
            f"flows {names} differ only in case and share one queue: delete all but one, with "
            "select pgflow.delete_flow_and_data('...') when their runs have ended."
        )
    for flow, slugs in now.rows(_CASE_OF_STEPS):
        names = ", ".join(slugs)
        yield f"steps {names} of flow {flow} differ only in case: make that flow anew with other names."
    for (slug,) in now.rows(_TOO_LONG):
        yield f"flow {slug} has {len(slug)} characters, a queue can have 47: make it anew under a shorter name."


def _of_messages(now: Situation) -> Iterator[str]:
    """Two tasks of one message: whose result a completion is cannot be told (generations 4.1)."""
    queue = "queue_name" if now.has("step_tasks", "queue_name") else "lower(flow_slug)"
    twice = now.rows(_MESSAGES.format(queue=queue))
    for name, message, number in twice[:5]:
        yield (
            f"{number} tasks have message {message} of queue {name}: find them in pgflow.step_tasks, and set "
            "message_id of those that have ended to null."
        )
    if len(twice) > 5:
        yield f"and so for {len(twice) - 5:,} messages more."


def _of_workers(now: Situation) -> Iterator[str]:
    claimed = now.there.relations.get("pgflow.step_task_record")
    if claimed is None or "flow_input" in claimed.columns:
        return
    is_ours = "false"
    if "pgflow_mp.workers" in now.there.relations:
        is_ours = "exists (select from pgflow_mp.workers as o where o.worker_id = w.worker_id)"
    ((alive,),) = now.rows(_OLD_WORKERS.format(ours=is_ours))
    if alive:
        yield (
            f"{counted(alive, 'worker is', 'workers are')} alive, of before 0.12: they look for the run's input in a "
            "key of the task's input; later cores do not send it. Stop them, adopt, and start newer ones."
        )
