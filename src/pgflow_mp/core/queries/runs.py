"""Statements about runs: start many at once, read one.

All of them go through functions that run with their owner's rights, so a caller who only starts and reads needs no
right on any table (D-11).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgflow_mp.core.statement import Row, Statement, array_of, array_text
from pgflow_mp.results import Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

__all__ = [
    "Keys",
    "Retried",
    "RunFilter",
    "StartedRun",
    "cancel_runs",
    "enqueue",
    "get_run",
    "get_run_inputs",
    "get_run_with_states",
    "list_runs",
    "open_runs",
    "retry_run",
    "start_flows",
    "start_once",
]


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run as its start left it.

    Attributes:
        run_id: The run.
        status: `started`; or `completed` or `failed`, where it had nothing to do.
        started_at: When it was started.
        ended_at: When it ended; None while it goes on.
        is_new: Whether this call has started it; False where its idempotency key had started it before.
    """

    run_id: UUID
    status: str
    started_at: datetime
    ended_at: datetime | None
    is_new: bool = True

    @classmethod
    def of(cls, run: Run) -> StartedRun:
        """Return the same of a run that was read."""
        assert run.started_at is not None, "every row has it"
        return cls(run.run_id, run.status, run.started_at, run.completed_at or run.failed_at)


_START = """
select run_id, status, started_at, coalesce(completed_at, failed_at)
from pgflow_mp.start_flows(%s::text, {inputs}, %s::uuid[])
"""
_ENQUEUE = """
select run_id, status, started_at, coalesce(completed_at, failed_at)
from pgflow_mp.enqueue(%s::text, {inputs}, %s::uuid[], %s::int, %s::timestamptz)
"""


def start_flows(
    flow_slug: str, inputs: Sequence[str], run_ids: Sequence[UUID | None] | None = None
) -> Statement[list[StartedRun]]:
    """Start one run for each input, all or none; return them in the same order.

    Args:
        flow_slug: The flow.
        inputs: JSON texts; arrays where the flow has a root map step (core 3.6.1).
        run_ids: The id of each run, None where the database shall make one (time-ordered, D-9).

    Raises:
        psycopg.errors.ForeignKeyViolation: (when executed) There is no such flow (``runs_flow_slug_fkey``).
        psycopg.errors.UniqueViolation: (when executed) A run has one of the ids already.
        psycopg.errors.RaiseException: (when executed) A root map step got an input that is no array.
    """
    array, elements = array_of("jsonb", inputs)
    params = (flow_slug, *elements, None if run_ids is None else array_text(run_ids))
    return Statement(_START.format(inputs=array), params, lambda found: [StartedRun(*row) for row in found])


def enqueue(
    flow_slug: str,
    inputs: Sequence[str],
    run_ids: Sequence[UUID],
    *,
    delay_seconds: int = 0,
    scheduled_at: datetime | None = None,
) -> Statement[list[StartedRun]]:
    """Start one run for each input, as `start_flows` does, whose first tasks begin later.

    Args:
        flow_slug: The flow.
        inputs: JSON texts.
        run_ids: The id of each run.
        delay_seconds: Seconds from now, by the database's clock.
        scheduled_at: An aware time instead; one that has passed is now.

    Raises:
        psycopg.Error: (when executed) As for `start_flows`.
    """
    array, elements = array_of("jsonb", inputs)
    params = (flow_slug, *elements, list(run_ids), delay_seconds, scheduled_at)
    return Statement(_ENQUEUE.format(inputs=array), params, lambda found: [StartedRun(*row) for row in found])


@dataclass(frozen=True, slots=True)
class Keys:
    """Idempotency keys for a start.

    Attributes:
        keys: The key of each run, None for none.
        while_running: A key stands for its run only as long as that is going; else as long as it is kept.
    """

    keys: Sequence[str | None]
    while_running: bool = False


_START_ONCE = """
select run_id, status, started_at, ended_at, is_new
from pgflow_mp.start_once(%s::text, {inputs}, %s::uuid[], %s::text[], %s::boolean, %s::int, %s::timestamptz)
"""


def start_once(
    flow_slug: str,
    inputs: Sequence[str],
    run_ids: Sequence[UUID],
    keys: Keys,
    *,
    delay_seconds: int = 0,
    scheduled_at: datetime | None = None,
) -> Statement[list[StartedRun]]:
    """Start a run for each input whose key stands for none; return the run of each input, in order.

    Args:
        flow_slug: The flow.
        inputs: JSON texts.
        run_ids: The id of each run that is new.
        keys: The key of each.
        delay_seconds: Begin so many seconds from now.
        scheduled_at: Begin at this aware time instead; one that has passed is now.

    Raises:
        psycopg.Error: (when executed) As for `start_flows`.
    """
    array, elements = array_of("jsonb", inputs)
    params = (
        flow_slug,
        *elements,
        list(run_ids),
        list(keys.keys),
        keys.while_running,
        delay_seconds,
        scheduled_at,
    )
    return Statement(_START_ONCE.format(inputs=array), params, lambda found: [StartedRun(*row) for row in found])


@dataclass(frozen=True, slots=True)
class Retried:
    """What came of a retry.

    Attributes:
        outcome: `started`, `unknown` (there is no such run), `going` (it has not ended) or `completed` (nothing of it
            failed).
        flow_slug: The flow; empty for an unknown run.
        run: The new run, where one was started.
    """

    outcome: str
    flow_slug: str
    run: StartedRun | None


_RETRY = """
select outcome, coalesce(flow_slug, ''), run_id, status, started_at, ended_at
from pgflow_mp.retry_run(%s::uuid, %s::boolean, %s::uuid)
"""


def retry_run(run_id: UUID, new_run_id: UUID, *, from_failed: bool) -> Statement[Retried]:
    """Start a run that repeats one that has ended; tell what came of it.

    Args:
        run_id: The run that has ended.
        new_run_id: The id of the new one.
        from_failed: Keep what its steps have achieved.
    """

    def read(found: list[Row]) -> Retried:
        outcome, flow_slug, *run = found[0]
        return Retried(outcome, flow_slug, StartedRun(*run) if outcome == "started" else None)

    return Statement(_RETRY, (run_id, from_failed, new_run_id), read)


def cancel_runs(run_ids: Sequence[UUID]) -> Statement[set[UUID]]:
    """Cancel those of these runs that are still going (D-20); tell which."""
    sql = "select pgflow_mp.cancel_runs(%s::uuid[])"
    return Statement(sql, (list(run_ids),), lambda found: {run_id for (run_id,) in found})


def get_run(run_id: UUID) -> Statement[Run | None]:
    """Read a run without its steps; None when there is no such run."""
    return Statement(
        "select pgflow_mp.get_run(%s::uuid)::text",
        (run_id,),
        lambda found: None if found[0][0] is None else Run.from_row(json.loads(found[0][0])),
    )


def get_run_with_states(run_id: UUID) -> Statement[Run | None]:
    """Read a run with its steps and their tasks; None when there is no such run."""
    return Statement("select pgflow_mp.run_details(%s::uuid)::text", (run_id,), _read_details)


def open_runs(flow_slug: str) -> Statement[list[UUID]]:
    """Tell the runs of a flow that have not ended, the oldest first; needs the right to read the table."""
    sql = "select run_id from pgflow.runs where flow_slug = %s::text and status = 'started' order by started_at, run_id"
    return Statement(sql, (flow_slug,), lambda found: [row[0] for row in found])


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs are wanted: those that meet every condition that is not None.

    Attributes:
        flow_slugs: Of one of these flows.
        statuses: With one of these statuses (core 2.4).
        cancelled: Whether `cancel_run` ended them (D-20).
        started_after: Started then or later.
        started_before: Started earlier.
        input_contains: JSON text; the input contains it (``@>`` of jsonb).
    """

    flow_slugs: Sequence[str] | None = None
    statuses: Sequence[str] | None = None
    cancelled: bool | None = None
    started_after: datetime | None = None
    started_before: datetime | None = None
    input_contains: str | None = None


_LIST = """
select r::text from pgflow_mp.list_runs(
  %s::text[], %s::text[], %s::bool, %s::timestamptz, %s::timestamptz, %s::jsonb,
  %s::timestamptz, %s::uuid, %s::int) as r
"""


def list_runs(wanted: RunFilter, limit: int, after: tuple[datetime, UUID] | None = None) -> Statement[list[Run]]:
    """Read runs without their steps, the latest first.

    Args:
        wanted: Which.
        limit: How many at the most.
        after: Start and id of the run that those asked for come behind.
    """
    params = (
        None if wanted.flow_slugs is None else list(wanted.flow_slugs),
        None if wanted.statuses is None else list(wanted.statuses),
        wanted.cancelled,
        wanted.started_after,
        wanted.started_before,
        wanted.input_contains,
        *(after or (None, None)),
        limit,
    )
    return Statement(_LIST, params, lambda found: [Run.from_row(json.loads(text)) for (text,) in found])


def get_run_inputs(run_ids: Sequence[UUID]) -> Statement[dict[UUID, bytes]]:
    """Read what runs were started with, as JSON; a run that does not exist is left out."""
    return Statement(
        "select run_id, input::text from pgflow.runs where run_id = any(%s::uuid[])",
        (list(run_ids),),
        lambda found: {run_id: text.encode() for run_id, text in found},
    )


def _read_details(found: list[Row]) -> Run | None:
    return None if found[0][0] is None else Run.from_details(json.loads(found[0][0]))
