"""Statements about tasks, as an engine drives them: claim, settle, give back, recover.

Every one takes many tasks, of any runs and flows, in one round trip. Inputs and outputs are JSON texts and pass
through unread: what a handler gets is decoded where it runs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pgflow_mp.core.statement import Row, Statement, array_of, array_text, nothing, value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

__all__ = [
    "ClaimedTask",
    "EndedRun",
    "EndedStep",
    "Recovered",
    "Settled",
    "Settlement",
    "SkippedDelay",
    "TaskKey",
    "Transitions",
    "claim_tasks",
    "give_back_tasks",
    "held_tasks",
    "lost_tasks",
    "recover_tasks",
    "recover_tasks_observed",
    "requeue_tasks",
    "settle_tasks",
    "skip_delays",
]


@dataclass(frozen=True, slots=True)
class ClaimedTask:
    """A task that is ours to run now (core 3.13.3).

    Attributes:
        flow_slug: The flow.
        run_id: The run.
        step_slug: The step.
        task_index: The element of a map step; 0 for a single step.
        msg_id: Its message in the queue.
        attempt: Which start of this task it is, from 1 on.
        timeout: Seconds that the attempt may take.
        input: JSON: an element for a map step, else the outputs of the parents by slug.
        flow_input: JSON: what the run was started with; for root single steps only.
    """

    flow_slug: str
    run_id: UUID
    step_slug: str
    task_index: int
    msg_id: int
    attempt: int
    timeout: float
    input: bytes
    flow_input: bytes | None


@dataclass(frozen=True, slots=True)
class TaskKey:
    """One attempt of one task: what a settlement or a return is about (D-5)."""

    run_id: UUID
    step_slug: str
    task_index: int
    attempt: int
    worker_id: UUID


@dataclass(frozen=True, slots=True)
class Settlement:
    """What came of one attempt.

    Attributes:
        run_id: The run.
        step_slug: The step.
        task_index: The task of the step.
        attempt: The attempt that ended, as the claim named it.
        worker_id: The worker that claimed it.
        output: JSON text, or None for SQL NULL (D-8); what a completed task returned.
        error: Why it failed; None when it completed.
        retryable: Whether the step's policy may try again after a failure.
        retry_delay: Seconds until it does so, instead of what the step's base delay gives.
    """

    run_id: UUID
    step_slug: str
    task_index: int
    attempt: int
    worker_id: UUID
    output: str | None = None
    error: str | None = None
    retryable: bool = True
    retry_delay: float | None = None


@dataclass(frozen=True, slots=True)
class EndedStep:
    """A step that a settlement ended.

    Attributes:
        step_slug: The step.
        status: `completed`, `failed` or `skipped`.
        error: Its error, where it has one.
        reason: Why it is skipped.
    """

    step_slug: str
    status: str
    error: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run that a settlement ended.

    Attributes:
        status: `completed` or `failed`.
        started_at: When it was started.
        ended_at: When it ended.
        error: The error of the step that failed it, where one has an error.
    """

    status: str
    started_at: datetime
    ended_at: datetime
    error: str | None


@dataclass(frozen=True, slots=True)
class Transitions:
    """What else became of a run by a settlement of its tasks: the steps that ended, and the run if it did."""

    steps: tuple[EndedStep, ...] = ()
    run: EndedRun | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settlement did.

    Attributes:
        run_id: The run.
        step_slug: The step.
        task_index: The task of the step.
        applied: Whether this attempt's outcome is in the database, by this call or by an earlier one of the same
            worker whose answer was lost; False when it came too late (D-5).
        task_status: The task's status now; None when there is no such task.
        step_status: The step's status now.
        run_status: The run's status now.
        delay: Of a task that is queued again: seconds until its next attempt. This and what follows: only if asked for.
        error: Of a task that is not completed: its error in the database.
        transitions: With one of the outcomes of a run: what ended with them.
    """

    run_id: UUID
    step_slug: str
    task_index: int
    applied: bool
    task_status: str | None
    step_status: str | None
    run_status: str | None
    delay: float | None = None
    error: str | None = None
    transitions: Transitions | None = None


@dataclass(frozen=True, slots=True)
class SkippedDelay:
    """A delay that was cut short: `seconds` were left of it."""

    run_id: UUID
    step_slug: str
    task_index: int
    seconds: float


_CLAIM = """
select flow_slug, run_id, step_slug, task_index, msg_id, attempt, timeout, input::text, flow_input::text
from pgflow_mp.claim_tasks(
  %s::text[], %s::uuid[], %s::int[], %s::uuid[], %s::text[], %s::int[], %s::int[]
)
"""


def claim_tasks(
    flow_slugs: Sequence[str],
    worker_ids: Sequence[UUID],
    quantities: Sequence[int],
    only_runs: Sequence[UUID] | None = None,
    *,
    steps: Sequence[str | None] | None = None,
    most: Sequence[int | None] | None = None,
    lanes: Sequence[int] | None = None,
) -> Statement[list[ClaimedTask]]:
    """Start tasks, oldest first, and return them; run it in a transaction of its own (core X-3).

    Args:
        flow_slugs: The flows to claim from; one may be named several times, with other steps.
        worker_ids: The worker of each flow; it must be registered.
        quantities: The most tasks of each, were it to get all the room of its lane; they share it equally.
        only_runs: Take tasks of these runs alone.
        steps: Of each, the steps: `a,b` for these, `-a,b` for all but these, None for all.
        most: The most tasks of each, whatever room there is.
        lanes: The lane of each, from 1 on: those of one lane share its room.

    Raises:
        psycopg.errors.ForeignKeyViolation: (when executed) A worker has no row any more: it shall stop (SU-7).
        psycopg.errors.UndefinedTable: (when executed) The queue of a flow is missing.
    """
    params = (
        array_text(flow_slugs),
        array_text(worker_ids),
        array_text(quantities),
        None if only_runs is None else array_text(only_runs),
        None if steps is None else array_text(steps),
        None if most is None else array_text(most),
        None if lanes is None else array_text(lanes),
    )
    return Statement(_CLAIM, params, lambda found: [_claimed(row) for row in found])


_SETTLE = """
select run_id, step_slug, task_index, applied, task_status, step_status, run_status
from pgflow_mp.settle_tasks(
  %s::uuid[], %s::text[], %s::int[], %s::int[], %s::uuid[], {outputs}, %s::text[], %s::boolean[], %s::float8[]
)
"""
_SETTLE_OBSERVED = _SETTLE.replace("run_status\n", "run_status, delay, error, transitions::text\n").replace(
    "settle_tasks", "settle_tasks_observed"
)


def settle_tasks(settlements: Sequence[Settlement], *, observed: bool = False) -> Statement[list[Settled]]:
    """Tell what came of attempts; returns one result for each, in order.

    Repeating it is safe: an outcome that was applied already is reported as applied and changes nothing (D-5). One
    that cannot be stored fails its own task only (D-6).

    Args:
        settlements: The outcomes.
        observed: Whether to find out what else they changed: steps and runs that ended, delays of retries.

    Raises:
        psycopg.errors.InvalidTextRepresentation: (when executed) An output is no JSON; nothing was settled.
    """
    outputs, output_texts = array_of("jsonb", [each.output for each in settlements])
    sql = (_SETTLE_OBSERVED if observed else _SETTLE).format(outputs=outputs)
    params = (
        *_key_columns(settlements),
        *output_texts,
        array_text(each.error for each in settlements),
        array_text(each.retryable for each in settlements),
        _delays(settlements),
    )
    if observed:
        return Statement(sql, params, lambda found: [_observed(row) for row in found])
    return Statement(sql, params, lambda found: [Settled(*row) for row in found])


def give_back_tasks(tasks: Sequence[TaskKey], delay: int = 0) -> Statement[int]:
    """Put claimed tasks back as if they had never been claimed (D-4); returns how many were.

    Args:
        tasks: The attempts; one that is not running any more is left alone.
        delay: Seconds until somebody can claim them again.
    """
    sql = "select pgflow_mp.give_back_tasks(%s::uuid[], %s::text[], %s::int[], %s::int[], %s::uuid[], %s::int)"
    return Statement(sql, (*_key_columns(tasks), delay), value)


def held_tasks(worker_ids: Sequence[UUID]) -> Statement[list[TaskKey]]:
    """Tell which attempts these workers have under way, as far as the database knows."""
    sql = "select run_id, step_slug, task_index, attempt, worker_id from pgflow_mp.held_tasks(%s::uuid[])"
    return Statement(sql, (list(worker_ids),), lambda found: [TaskKey(*row) for row in found])


_LOST = "select pgflow_mp.lost_tasks(%s::uuid[], %s::text[], %s::int[], %s::int[], %s::uuid[])"


_RECOVER_OBSERVED = """
select
  flow_slug, run_id, step_slug, task_index, attempt, worker_id, is_lost, task_status, delay, error, transitions::text
from pgflow_mp.recover_tasks_observed(make_interval(secs => %s::float8))
"""


def recover_tasks_observed(silent: float = 15.0) -> Statement[tuple[int, list[Recovered]]]:
    """Do what `recover_tasks` does; returns how many can run again, and the attempts that have failed by it."""

    def read(found: list[Row]) -> tuple[int, list[Recovered]]:
        freed = sum(row[7] == "queued" for row in found)
        return freed, [_recovered(row) for row in found if row[1] is not None]

    return Statement(_RECOVER_OBSERVED, (silent,), read)


def _recovered(row: Row) -> Recovered:
    flow_slug, *key, is_lost, task_status, delay, error, transitions = row
    told = None if transitions is None else _transitions(json.loads(transitions))
    return Recovered(flow_slug, TaskKey(*key), is_lost, task_status, delay, error or "", told)


def lost_tasks(tasks: Sequence[TaskKey]) -> Statement[list[int]]:
    """Tell which of these attempts are no longer with their worker, as places in `tasks`."""
    params = (
        [task.run_id for task in tasks],
        [task.step_slug for task in tasks],
        [task.task_index for task in tasks],
        [task.attempt for task in tasks],
        [task.worker_id for task in tasks],
    )
    return Statement(_LOST, params, lambda found: [place - 1 for (place,) in found])


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """How far an attempt is.

    Attributes:
        run_id: The run.
        step_slug: The step.
        task_index: The element's place in a map step.
        attempt: 1 for the first.
        fraction: From 0 to 1, or None.
        message: What is going on, or None.
    """

    run_id: UUID
    step_slug: str
    task_index: int
    attempt: int
    fraction: float | None
    message: str | None


def report_progress(reports: Sequence[ProgressReport]) -> Statement[None]:
    """Note how far attempts are, at most one report of each; those that are over are left out."""
    sql = "select pgflow_mp.report_progress(%s::uuid[], %s::text[], %s::int[], %s::int[], %s::float8[], %s::text[])"
    params = (
        [report.run_id for report in reports],
        [report.step_slug for report in reports],
        [report.task_index for report in reports],
        [report.attempt for report in reports],
        [report.fraction for report in reports],
        [report.message for report in reports],
    )
    return Statement(sql, params, nothing)


@dataclass(frozen=True, slots=True)
class Recovered:
    """A task that nobody worked on any more, and whose attempt counts as failed.

    Attributes:
        flow_slug: The flow.
        key: The attempt, with the worker that had it; None for that where none is known.
        is_lost: Whether its worker is gone; else its time was up.
        task_status: What became of it: `queued` again, or `failed`.
        delay: Seconds until the next attempt.
        error: What it failed with.
        transitions: With one of the tasks of a run: what ended with them.
    """

    flow_slug: str
    key: TaskKey
    is_lost: bool
    task_status: str
    delay: float | None
    error: str
    transitions: Transitions | None


def recover_tasks(silent: float = 15.0) -> Statement[int]:
    """Free tasks that nobody works on any more (D-3); returns how many can run again.

    Args:
        silent: Seconds without a heartbeat after which a worker of ours is taken for dead.
    """
    return Statement("select pgflow_mp.recover_tasks(make_interval(secs => %s::float8))", (silent,), value)


def requeue_tasks(tasks: Sequence[TaskKey]) -> Statement[None]:
    """Take started tasks from their worker, as recovery does when it was silent beyond their timeout (core ST-3).

    They are queued, visible at once, and the attempt stays counted: what their worker still reports comes too late.
    """
    return Statement(
        "select from pgflow_mp._requeue_tasks(%s::uuid[], %s::text[], %s::int[], %s::int[], keep_attempt => true)",
        _key_columns(tasks)[:4],
        nothing,
    )


def skip_delays(run_ids: Sequence[UUID], *, by: float | None = None) -> Statement[list[SkippedDelay]]:
    """Let the queued tasks of these runs start at once, whatever delay they are in; returns those that were.

    Args:
        run_ids: The runs.
        by: Let them start so many seconds earlier, and no more.
    """
    sql = "select run_id, step_slug, task_index, seconds from pgflow_mp.skip_delays(%s::uuid[], %s::float8)"
    return Statement(sql, (list(run_ids), by), lambda found: [SkippedDelay(*row) for row in found])


def _key_columns(tasks: Sequence[TaskKey | Settlement]) -> tuple[str, str, str, str, str]:
    return (
        array_text(task.run_id for task in tasks),
        array_text(task.step_slug for task in tasks),
        array_text(task.task_index for task in tasks),
        array_text(task.attempt for task in tasks),
        array_text(task.worker_id for task in tasks),
    )


def _delays(settlements: Sequence[Settlement]) -> str | None:
    delays = [each.retry_delay for each in settlements]
    return None if all(delay is None for delay in delays) else array_text(delays)


def _observed(row: Row) -> Settled:
    *known, transitions = row
    known.append(None if transitions is None else _transitions(json.loads(transitions)))
    return Settled(*known)


def _transitions(found: Mapping[str, Any]) -> Transitions:
    steps = tuple(
        EndedStep(step["step"], step["status"], step.get("error"), step.get("reason"))
        for step in found.get("steps", ())
    )
    run = found.get("run")
    if run is None:
        return Transitions(steps)
    started_at, ended_at = (datetime.fromisoformat(run[key]) for key in ("started_at", "ended_at"))
    return Transitions(steps, EndedRun(run["status"], started_at, ended_at, run.get("error")))


def _claimed(row: Row) -> ClaimedTask:
    *known, task_input, flow_input = row
    known += [task_input.encode(), None if flow_input is None else flow_input.encode()]
    return ClaimedTask(*known)
