"""Statements about flows as they are stored: compile, look up, delete."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pgflow_mp.core.statement import Row, Statement, value
from pgflow_mp.schedule import as_mapping

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from pgflow_mp.schedule import Schedule

__all__ = [
    "Compiled",
    "FlowActivity",
    "StoredFlow",
    "StoredStep",
    "check_flow",
    "compile_flow",
    "delete_flow",
    "flow_activity",
    "flow_exists",
    "get_flow",
    "list_flows",
    "list_slugs",
]


@dataclass(frozen=True, slots=True)
class Compiled:
    """What compiling a flow did, or would do (D-17).

    Attributes:
        status: ``compiled`` (new), ``verified``, ``recompiled`` (deleted with its runs, made anew) or ``mismatch``
            (nothing was changed); ``missing`` where it was only looked for.
        differences: Between the definition and what is, or was, stored; one sentence each (core 6.2).
        options_changed: Options that were updated in place, such as ``timeout of step charge: 60 -> 120``.
        queues_restored: Queues that were made again, empty, because somebody had dropped their tables.
        schedules_changed: What was done to schedules that the flow declares, such as ``schedule nightly is set``.
        options_left: Options that differ and stay as the database has them, since its core is somebody else's.
    """

    status: str
    differences: tuple[str, ...]
    options_changed: tuple[str, ...]
    queues_restored: tuple[str, ...] = ()
    schedules_changed: tuple[str, ...] = ()
    options_left: tuple[str, ...] = ()

    @property
    def nothing_to_do(self) -> bool:
        """Whether the database has the flow as it is defined, but for options that are not ours to set."""
        return replace(self, options_left=()) == Compiled("verified", (), ())


@dataclass(frozen=True, slots=True)
class StoredStep:
    """A step as the database has it; an option that is None is inherited from the flow (core 2.2)."""

    slug: str
    step_type: str
    deps: tuple[str, ...]
    max_attempts: int | None
    base_delay: int | None
    timeout: int | None
    start_delay: int | None
    when: Mapping[str, Any] | None
    unless: Mapping[str, Any] | None
    when_unmet: str
    when_exhausted: str
    queue_name: str


@dataclass(frozen=True, slots=True)
class StoredFlow:
    """A flow as the database has it; delays and timeouts in seconds (core 2.1)."""

    slug: str
    max_attempts: int
    base_delay: int
    timeout: int
    created_at: datetime
    queue_mode: str
    flow_type: str
    steps: tuple[StoredStep, ...]


def compile_flow(
    slug: str,
    shape: Mapping[str, Any],
    *,
    recompile: bool = False,
    is_job: bool = False,
    schedules: Sequence[Schedule] | None = None,
) -> Statement[Compiled]:
    """Make a flow that is missing, verify one that is there, update its options in place (D-17).

    Args:
        slug: The flow's slug.
        shape: Its steps and options, as core section 6 writes them.
        recompile: Replace a flow of another shape; its runs are lost.
        is_job: Mark it as a job (`flows.flow_type`), for those who list jobs.
        schedules: Those that it declares; None leaves all as they are.

    Raises:
        psycopg.errors.RaiseException: (when executed) A slug is bad, or a queue is too long or taken.
    """
    sql = "select pgflow_mp.compile_flow(%s::text, %s::jsonb, %s::boolean, %s::text, %s::jsonb)::text"
    params = (slug, json.dumps(shape), recompile, "job" if is_job else "flow", _as_json(schedules))
    return Statement(sql, params, read_compiled)


@dataclass(frozen=True, slots=True)
class FlowActivity:
    """What goes on in a flow.

    Attributes:
        slug: The flow.
        live_workers: How many workers of any language serve it at the moment.
        latest_run_id: The run that was started last; None where there is none, like what follows.
        latest_status: Its status.
        latest_at: When it was started.
    """

    slug: str
    live_workers: int
    latest_run_id: UUID | None
    latest_status: str | None
    latest_at: datetime | None


def flow_activity() -> Statement[dict[str, FlowActivity]]:
    """Read what goes on in all flows, by slug."""
    return Statement(
        "select * from pgflow_mp.flow_activity()", (), lambda found: {row[0]: FlowActivity(*row) for row in found}
    )


def check_flow(slug: str, shape: Mapping[str, Any], schedules: Sequence[Schedule] | None = None) -> Statement[Compiled]:
    """Tell what compiling the flow would find, and change nothing: verified, mismatch or missing.

    Args:
        slug: The flow's slug.
        shape: Its steps and options, as core section 6 writes them.
        schedules: Those that it declares; None does not look at them.
    """
    sql = "select pgflow_mp.check_flow(%s::text, %s::jsonb, %s::jsonb)::text"
    return Statement(sql, (slug, json.dumps(shape), _as_json(schedules)), read_compiled)


def flow_exists(slug: str) -> Statement[bool]:
    """Tell whether there is a flow of exactly this slug."""
    return Statement("select pgflow_mp.has_flow(%s::text)", (slug,), value)


def delete_flow(slug: str) -> Statement[bool]:
    """Delete a flow with its runs and its queue; tell whether there was one (core 6.5)."""
    return Statement("select pgflow_mp.delete_flow(%s::text)", (slug,), value)


def get_flow(slug: str) -> Statement[StoredFlow | None]:
    """Read a flow as it is stored; None when there is none."""
    sql = "select f::text from pgflow_mp.flow_details(array[%s::text]) as f"
    return Statement(sql, (slug,), lambda found: read_flow(found[0]) if found else None)


def list_flows() -> Statement[list[StoredFlow]]:
    """Read all flows, by slug."""
    sql = "select f::text from pgflow_mp.flow_details() as f"
    return Statement(sql, (), lambda found: [read_flow(row) for row in found])


def list_slugs() -> Statement[list[str]]:
    """Read the slugs of all flows, in order."""
    sql = "select f ->> 'flow_slug' from pgflow_mp.flow_details() as f"
    return Statement(sql, (), lambda found: [slug for (slug,) in found])


def _as_json(schedules: Sequence[Schedule] | None) -> str | None:
    return None if schedules is None else json.dumps([as_mapping(schedule) for schedule in schedules])


def read_compiled(found: list[Row]) -> Compiled:
    """Read the answer of a function that compiles."""
    answer = json.loads(found[0][0])
    return Compiled(
        answer["status"],
        tuple(answer["differences"]),
        tuple(answer["options_changed"]),
        tuple(answer["queues_restored"]),
        tuple(answer["schedules_changed"]),
        tuple(answer["options_left"]),
    )


def read_flow(row: Row) -> StoredFlow:
    """Read a flow from its JSON text."""
    flow = json.loads(row[0])
    return StoredFlow(
        slug=flow["flow_slug"],
        max_attempts=flow["opt_max_attempts"],
        base_delay=flow["opt_base_delay"],
        timeout=flow["opt_timeout"],
        created_at=datetime.fromisoformat(flow["created_at"]),
        queue_mode=flow["queue_mode"],
        flow_type=flow["flow_type"],
        steps=tuple(_read_step(step) for step in flow["steps"]),
    )


def _read_step(step: Mapping[str, Any]) -> StoredStep:
    return StoredStep(
        slug=step["step_slug"],
        step_type=step["step_type"],
        deps=tuple(step["deps"]),
        max_attempts=step["opt_max_attempts"],
        base_delay=step["opt_base_delay"],
        timeout=step["opt_timeout"],
        start_delay=step["opt_start_delay"],
        when=step["required_input_pattern"],
        unless=step["forbidden_input_pattern"],
        when_unmet=step["when_unmet"],
        when_exhausted=step["when_exhausted"],
        queue_name=step["queue_name"],
    )
