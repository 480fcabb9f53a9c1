"""Rows that older cores leave otherwise than ours: filled and mended before the constraints that need it.

- ``queue_name`` of steps and tasks: the queue of their flow (generations 4.1).
- Outputs of steps that completed before 0.13, which kept them with the tasks only (core 2.5 O-1, 8.2).
- Open tasks of steps that were skipped and of runs that failed: what they have become (generations TS-6).
- What pgflow-mp has kept beside the core, because that had no column for it.
- Rows of schema pgflow_mp whose run or flow is gone: beside a foreign core no reference has deleted them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pgflow_mp.core.adopt.plan import Change
from pgflow_mp.core.adopt.situation import orphans_of
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.core.adopt.situation import Situation

__all__ = ["filled"]


class _Repair(NamedTuple):
    """Rows that are changed.

    Attributes:
        text: What is done to how many; ``{}`` stands for their number.
        what: One of them.
        found: Which they are; only a query, to count them.
        statement: How they are changed.
    """

    text: str
    what: str
    found: str
    statement: str


# Written by a rewrite of the table: no dead rows, no index touched row by row, each page filled as it shall be.
_QUEUE_OF_STEPS: Final = _Repair(
    "write the name of their flow's queue into {}",
    "step",
    "select from pgflow.steps",
    "alter table pgflow.steps alter column queue_name type text using lower(flow_slug)",
)
_QUEUE_OF_TASKS: Final = _Repair(
    "write the name of their flow's queue into {}",
    "task",
    "select from pgflow.step_tasks",
    "alter table pgflow.step_tasks alter column queue_name type text using lower(flow_slug)",
)
_OUTPUTS: Final = _Repair(
    "take the output of {} from their tasks",
    "completed step",
    "select from pgflow.step_states where status = 'completed'",
    """update pgflow.step_states as state
set output = case step.step_type
  when 'map' then coalesce(
    (
      select jsonb_agg(task.output order by task.task_index)
      from pgflow.step_tasks as task
      where task.run_id = state.run_id and task.step_slug = state.step_slug
    ),
    '[]'
  )
  else (
    select task.output
    from pgflow.step_tasks as task
    where task.run_id = state.run_id and task.step_slug = state.step_slug and task.task_index = 0
  )
end
from pgflow.steps as step
where state.status = 'completed'
  and step.flow_slug = state.flow_slug
  and step.step_slug = state.step_slug""",
)
_TYPES: Final = _Repair(
    "take over the types of {} that pgflow-mp has kept beside",
    "flow",
    "select from pgflow_mp.flow_types as kept join pgflow.flows using (flow_slug)",
    """update pgflow.flows as flow
set flow_type = kept.flow_type
from pgflow_mp.flow_types as kept
where kept.flow_slug = flow.flow_slug""",
)
_REQUEUES: Final = _Repair(
    "take over how often {} were requeued",
    "task",
    "select from pgflow_mp.task_requeues",
    """update pgflow.step_tasks as task
set requeued_count = kept.requeued_count, last_requeued_at = kept.last_requeued_at
from pgflow_mp.task_requeues as kept
where kept.run_id = task.run_id and kept.step_slug = task.step_slug and kept.task_index = task.task_index""",
)
# Where a core cannot say that a worker stopped, pgflow-mp beside it deprecates the row and says that it never beat.
_STOPPED: Final = _Repair(
    "write down when {} stopped",
    "worker",
    "select from pgflow.workers where last_heartbeat_at = 'epoch'",
    "update pgflow.workers set stopped_at = deprecated_at where last_heartbeat_at = 'epoch'",
)
_OF_SKIPPED_STEPS: Final = _Repair(
    "mark {} as skipped, as their step is",
    "open task",
    """select from pgflow.step_tasks as task
join pgflow.step_states as state on state.run_id = task.run_id and state.step_slug = task.step_slug
where task.status in ('queued', 'started') and state.status = 'skipped'""",
    """update pgflow.step_tasks as task
set status = 'skipped'
from pgflow.step_states as state
where state.run_id = task.run_id
  and state.step_slug = task.step_slug
  and task.status in ('queued', 'started')
  and state.status = 'skipped'""",
)
_OF_FAILED_RUNS: Final = _Repair(
    "mark {} as cancelled, since their run has failed",
    "open task",
    """select from pgflow.step_tasks as task
join pgflow.runs as run on run.run_id = task.run_id
join pgflow.step_states as state on state.run_id = task.run_id and state.step_slug = task.step_slug
where task.status in ('queued', 'started') and state.status <> 'skipped' and run.status = 'failed'""",
    """update pgflow.step_tasks as task
set status = 'cancelled'
from pgflow.runs as run
where run.run_id = task.run_id
  and task.status in ('queued', 'started')
  and run.status = 'failed'""",
)


def filled(now: Situation) -> Iterator[Change]:
    """Fill and mend what there is to fill and mend, in the order of TS-6."""
    for repair in _needed(now):
        number = now.count(repair.found)
        if number:
            yield Change("data", repair.text.format(counted(number, repair.what)), (repair.statement,))
    yield from _orphans_deleted(now)


def _needed(now: Situation) -> Iterator[_Repair]:
    if not now.has("steps", "queue_name"):
        yield _QUEUE_OF_STEPS
    if not now.has("step_tasks", "queue_name"):
        yield _QUEUE_OF_TASKS
    if not now.has("step_states", "output"):
        yield _OUTPUTS
    if not now.has("flows", "flow_type") and "pgflow_mp.flow_types" in now.there.relations:
        yield _TYPES
    if not now.has("step_tasks", "requeued_count") and "pgflow_mp.task_requeues" in now.there.relations:
        yield _REQUEUES
    if not now.has("workers", "stopped_at"):
        yield _STOPPED
    yield _OF_SKIPPED_STEPS
    yield _OF_FAILED_RUNS


def _orphans_deleted(now: Situation) -> Iterator[Change]:
    for path, wanted in now.wanted.relations.items():
        there = now.there.relations.get(path)
        if there is None or wanted.schema != "pgflow_mp":
            continue
        for name, constraint in wanted.constraints.items():
            if constraint.kind == "f" and name not in there.constraints:
                orphans = orphans_of(path, constraint)
                number = now.count(f"select {orphans}")
                if number:
                    text = f"{path}: delete {counted(number, 'row')} whose row in {constraint.parent} is gone"
                    yield Change("data", text, (f"delete {orphans}",))
