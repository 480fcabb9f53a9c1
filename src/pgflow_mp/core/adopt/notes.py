"""What an adoption leaves as it is, and what a person should know about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgflow_mp.core.adopt.known import BESIDE, CONSTRAINTS, FUNCTIONS, INDEXES, VIEW_BESIDE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.core.adopt.catalog import Relation
    from pgflow_mp.core.adopt.situation import Situation

__all__ = ["noted"]

_BAD_SLUGS: Final = {
    "slug_is_valid": "select flow_slug from pgflow.flows where not {rule} order by 1",
    "steps_step_slug_check": "select flow_slug || '.' || step_slug from pgflow.steps where not {rule} order by 1",
}
_QUEUES: Final = """
select lower(l.queue_name), string_agg(l.queue_name::text, ', ' order by l.queue_name::text collate "C")
from pgmq.meta as l
where lower(l.queue_name) in (select lower(f.flow_slug) from pgflow.flows as f)
group by 1
having count(*) > 1
order by 1
"""
_LISTED: Final = 5


def noted(now: Situation) -> Iterator[str]:
    """Everything that is left alone, and what to do afterwards."""
    yield from _own_objects(now)
    yield from _slugs(now)
    yield from _queues(now)
    yield from _surroundings(now)


def _own_objects(now: Situation) -> Iterator[str]:
    """Objects in schema pgflow that no core of the family makes."""
    for path, there in now.there.relations.items():
        wanted = now.wanted.relations.get(path)
        if path in BESIDE or path.startswith(VIEW_BESIDE):
            continue
        if wanted is None:
            yield f"{path} is your own: it stays as it is"
        elif there.kind == "r" and there.schema == "pgflow":
            yield from _own_parts(there, wanted)
    known = FUNCTIONS | (now.installed or frozenset())
    others = sorted(now.there.functions.keys() - now.wanted.functions.keys() - known)
    if len(others) == 1:
        yield f"function {others[0]} is none of ours: it stays as it is"
    elif others:
        yield f"{len(others)} functions are none of ours, they stay as they are: {', '.join(others)}"


def _own_parts(there: Relation, wanted: Relation) -> Iterator[str]:
    ours = {constraint.definition for constraint in wanted.constraints.values()}
    constraints = {
        name
        for name, constraint in there.constraints.items()
        if name not in wanted.constraints and constraint.definition not in ours
    }
    obsolete = {name for path, name in CONSTRAINTS if path == there.path}
    for kind, names in (
        ("column", there.columns.keys() - wanted.columns.keys()),
        ("constraint", constraints - obsolete),
        ("trigger", there.triggers.keys() - wanted.triggers.keys()),
    ):
        for name in sorted(names):
            yield f"{there.path}: {kind} {name} is your own: it stays as it is"
    for name in sorted(there.indexes.keys() - wanted.indexes.keys() - INDEXES):
        yield (
            f"{there.path}: index {name} is your own: it stays; on a status, counter or time it makes every "
            "change of a row write to all indexes"
        )


def _slugs(now: Situation) -> Iterator[str]:
    for (path, name), number in now.broken.items():
        if not now.is_stricter(path, name):
            continue
        rule = now.wanted.relations[path].constraints[name].expression or ""
        slugs = [row[0] for row in now.rows(_BAD_SLUGS[name].format(rule=rule))]
        more = f" and {number - _LISTED} more" if number > _LISTED else ""
        yield (
            f"newer cores refuse the slug of {', '.join(slugs[:_LISTED])}{more}: they stay as they are and go on; no "
            "other slug of that kind is taken; rename them in their code when you can"
        )


def _queues(now: Situation) -> Iterator[str]:
    for queue, spellings in now.rows(_QUEUES):
        yield (
            f"pgmq lists queue {queue} more than once ({spellings}); its flow works, but cannot be deleted: "
            "delete the spelling that is not the flow's from pgmq.meta"
        )


def _surroundings(now: Situation) -> Iterator[str]:
    """What goes on beside the schema."""
    if now.rows("select from pg_catalog.pg_namespace where nspname = 'pgflow_telemetry'"):
        yield (
            "schema pgflow_telemetry stays, and its daily cron job goes on reporting figures of this database; "
            "end that with: select pgflow_telemetry.disable()"
        )
    if now.rows("select from pg_catalog.pg_namespace where nspname = 'supabase_migrations'"):
        yield (
            "the schema is pgflow-mp's from now on: do not run migrations of the pgflow package on it again; "
            "`pgflow-mp install` updates it"
        )
    claimed = now.there.relations.get("pgflow.step_task_record")
    if claimed is not None and "flow_input" not in claimed.columns:
        yield (
            "workers before 0.12 find the run's input no longer in the input of their tasks: start newer ones instead"
        )
