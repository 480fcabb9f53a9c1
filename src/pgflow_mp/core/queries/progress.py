"""How far a run is, in one statement that is cheap enough to ask ten times a second.

Counts only, no inputs and outputs: what a person watches while the run goes on. One row a step; the run's own
columns stand on each of them, so that steps and run are of one snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgflow_mp.core.statement import Statement

if TYPE_CHECKING:
    from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgress:
    """How far one step is.

    Attributes:
        slug: The step.
        is_map: Whether it has one task for each element.
        deps: The steps that it waits for, in definition order.
        status: created, started, completed, failed or skipped.
        tasks: How many tasks it has; None while not known (a map step whose array does not exist yet).
        done: Tasks completed.
        running: Tasks that a worker has claimed and not settled.
        retrying: Tasks that failed at least once and wait for their next attempt.
        attempts: The most attempts that one of its tasks has had.
        error: The step's error, else the latest error of a task that is tried again; None if all is well.
        skip_reason: Why it was skipped (core 2.5); None otherwise.
        seconds: How long it has been started, or was until it ended; None before.
    """

    slug: str
    is_map: bool
    deps: tuple[str, ...]
    status: str
    tasks: int | None
    done: int
    running: int
    retrying: int
    attempts: int
    error: str | None
    skip_reason: str | None
    seconds: float | None

    @property
    def ended(self) -> bool:
        """Whether the step's status can no longer change."""
        return self.status in {"completed", "failed", "skipped"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """How far a run is.

    Attributes:
        status: started, completed or failed.
        seconds: Since the start, or from start to end.
        steps: In definition order.
    """

    status: str
    seconds: float
    steps: tuple[StepProgress, ...]

    @property
    def ended(self) -> bool:
        """Whether the run's status can no longer change."""
        return self.status != "started"


def run_progress(run_id: UUID) -> Statement[RunProgress | None]:
    """How far the run is; None if there is no such run.

    Args:
        run_id: The run.
    """
    return Statement(_PROGRESS, (run_id, run_id, run_id), _read)


# A task of a map step is counted in the index idx_step_tasks_* of its run: 10,000 of them take about 3 ms.
_PROGRESS = """
with task as (
  select step_slug,
         count(*) filter (where status = 'completed') as done,
         count(*) filter (where status = 'started') as running,
         count(*) filter (where status = 'queued' and attempts_count > 0
                            and error_message is not null) as retrying,
         max(attempts_count) as attempts,
         (array_agg(error_message order by task_index) filter (where error_message is not null))[1] as error
    from pgflow.step_tasks
   where run_id = %s
   group by step_slug
), dep as (
  select d.step_slug, array_agg(d.dep_slug order by p.step_index) as deps
    from pgflow.runs r
    join pgflow.deps d on d.flow_slug = r.flow_slug
    join pgflow.steps p on p.flow_slug = d.flow_slug and p.step_slug = d.dep_slug
   where r.run_id = %s
   group by d.step_slug
)
select r.status,
       extract(epoch from coalesce(r.completed_at, r.failed_at, clock_timestamp()) - r.started_at)::float8,
       s.step_slug, s.step_type = 'map', coalesce(dep.deps, '{}'), st.status, st.initial_tasks,
       coalesce(task.done, 0), coalesce(task.running, 0), coalesce(task.retrying, 0),
       coalesce(task.attempts, 0),
       coalesce(st.error_message, task.error), st.skip_reason,
       extract(epoch from coalesce(st.completed_at, st.failed_at, st.skipped_at, clock_timestamp())
                          - st.started_at)::float8
  from pgflow.runs r
  join pgflow.step_states st on st.run_id = r.run_id
  join pgflow.steps s on s.flow_slug = st.flow_slug and s.step_slug = st.step_slug
  left join task on task.step_slug = s.step_slug
  left join dep on dep.step_slug = s.step_slug
 where r.run_id = %s
 order by s.step_index
"""


def _read(rows: list[tuple[Any, ...]]) -> RunProgress | None:
    if not rows:
        return None
    status, seconds = rows[0][:2]
    return RunProgress(status=status, seconds=max(0.0, seconds), steps=tuple(_read_step(row[2:]) for row in rows))


def _read_step(row: tuple[Any, ...]) -> StepProgress:
    slug, is_map, deps, status, tasks, done, running, retrying, attempts, error, skip_reason, seconds = row
    return StepProgress(
        slug=slug, is_map=is_map, deps=tuple(deps), status=status, tasks=tasks,
        done=done, running=running, retrying=retrying, attempts=attempts,
        error=error, skip_reason=skip_reason, seconds=seconds,
    )  # fmt: skip
