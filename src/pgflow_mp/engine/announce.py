"""What the engine tells the observers: from outcomes and the database's answers to hooks.

Only what the database applied is told, and only after it has said so. Of one settlement the tasks come first, then
the steps, then the runs, so that for each run causes come before effects. A settlement whose answer was lost is sent
again, and the second answer is told; what it says about steps and runs may then have been told in part by a batch that
was cut in two, so ends of steps and runs are remembered for a while and never told twice (D-5).

The answer to a claim may overtake the answer to the settlement that made its tasks ready, since both are under way at
once. So while a settlement is, what begins is kept back and told after it.

With nobody to tell, nothing is made and the database is asked for nothing: everything here begins with `heard`.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from pgflow_mp.executors.base import Completed
from pgflow_mp.hooks.events import Carriers, RunInfo, StepInfo, TaskInfo

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence
    from uuid import UUID

    from pgflow_mp.core.queries.tasks import ClaimedTask, Recovered, Settled, TaskKey, Transitions
    from pgflow_mp.executors.base import Outcome, TaskCall
    from pgflow_mp.hooks.events import ChildInfo, FailureReason
    from pgflow_mp.hooks.observers import Observers

# What only the longer answer to a settlement tells.
_DETAILED = frozenset(
    {
        "pgflow_task_retried",
        "pgflow_task_failed",
        "pgflow_step_completed",
        "pgflow_step_failed",
        "pgflow_step_skipped",
        "pgflow_run_completed",
        "pgflow_run_failed",
    }
)
_TASK_ENDS = frozenset({"pgflow_task_completed", "pgflow_task_timed_out"}) | _DETAILED
_REMEMBERED_ENDS = 10_000
_NOTHING_TO_KEEP_BACK = nullcontext()


class Announcer:
    """Tells observers about tasks, steps and runs, as a worker or an inline run comes to know of them.

    Attributes:
        wants_details: Whether settlements must be asked what else they changed (`settle_tasks(observed=True)`).
    """

    def __init__(self, observers: Observers) -> None:
        self.wants_details = not observers.heard.isdisjoint(_DETAILED)
        self._tell = observers.tell
        heard = observers.heard
        # Asked at each claim and each settlement, so found out once.
        self._tells_claims = "pgflow_tasks_claimed" in heard
        self._tells_starts = "pgflow_task_started" in heard
        self._tells_settlements = "pgflow_tasks_settled" in heard
        self._tells_ends = not heard.isdisjoint(_TASK_ENDS)
        self._ended: OrderedDict[Hashable, None] = OrderedDict()
        self._kept_back: list[tuple[str, dict[str, Any]]] | None = None

    def claimed(self, tasks: Sequence[ClaimedTask], keys: Sequence[TaskKey], seconds: float) -> None:
        """Tell what a claim has brought."""
        if self._tells_claims:
            infos = (
                TaskInfo(task.flow_slug, task.run_id, task.step_slug, task.task_index, task.attempt, key.worker_id)
                for task, key in zip(tasks, keys, strict=True)
            )
            self._begins("pgflow_tasks_claimed", tasks=tuple(infos), seconds=seconds)

    def settling(self) -> AbstractContextManager[None]:
        """Keep back what begins meanwhile: it may follow from what this settlement will turn out to have done."""
        return self._keeping_back() if self._tells_claims or self._tells_starts else _NOTHING_TO_KEEP_BACK

    @contextmanager
    def _keeping_back(self) -> Iterator[None]:
        self._kept_back = []
        try:
            yield
        finally:
            kept_back, self._kept_back = self._kept_back, None
            for hook, event in kept_back:
                self._tell(hook, **event)

    def _begins(self, hook: str, **event: Any) -> None:
        if self._kept_back is None:
            self._tell(hook, **event)
        else:
            self._kept_back.append((hook, event))

    def poll_failed(self, error: str, delay: float) -> None:
        """Tell that a claim failed."""
        self._tell("pgflow_poll_failed", error=error, delay=delay)

    def settle_failed(self, count: int, error: str, delay: float) -> None:
        """Tell that a settlement did not come through."""
        self._tell("pgflow_settle_failed", count=count, error=error, delay=delay)

    def settled(self, outcomes: Sequence[Outcome], results: Sequence[Settled], seconds: float) -> None:
        """Tell what a settlement has changed."""
        if self._tells_settlements:
            applied = sum(result.applied for result in results)
            self._tell("pgflow_tasks_settled", count=len(results), applied=applied, seconds=seconds)
        if not self._tells_ends:
            return
        applied_ones = [each for each in zip(outcomes, results, strict=True) if each[1].applied]
        for outcome, result in applied_ones:
            self._task(outcome, result)
        changes = [
            (outcome.call.flow.slug, result.run_id, result.transitions)
            for outcome, result in applied_ones
            if result.transitions is not None
        ]
        self._changes(changes)

    def recovered(self, failed: Sequence[Recovered]) -> None:
        """Tell of attempts that failed because nobody worked on them any more (D-3)."""
        for each in failed:
            key = each.key
            task = TaskInfo(each.flow_slug, key.run_id, key.step_slug, key.task_index, key.attempt, key.worker_id)
            reason: FailureReason = "lost" if each.is_lost else "timeout"
            told = {"task": task, "error": each.error, "reason": reason, "seconds": 0.0, "carriers": Carriers.of(b"")}
            self._failure(told, each.task_status, each.delay)
        self._changes(
            [(each.flow_slug, each.key.run_id, each.transitions) for each in failed if each.transitions is not None]
        )

    def _changes(self, changes: Sequence[tuple[str, UUID, Transitions]]) -> None:
        for change in changes:
            self._steps(*change)
        for change in changes:
            self._run(*change)

    def _task(self, outcome: Outcome, result: Settled) -> None:
        task = info_of(outcome.call)
        if isinstance(outcome, Completed):
            if result.task_status == "completed":
                self._tell("pgflow_task_completed", task=task, seconds=outcome.seconds)
            else:  # what it returned is not what the next step goes over (core CT-4), or cannot be stored
                self._tell(
                    "pgflow_task_failed",
                    task=task,
                    error=result.error or "",
                    reason="output",
                    seconds=outcome.seconds,
                    carriers=Carriers.of(outcome.call.carriers),
                )
        else:
            told = {
                "task": task,
                "error": outcome.error,
                "reason": outcome.reason,
                "seconds": outcome.seconds,
                "carriers": Carriers.of(outcome.call.carriers),
            }
            self._failure(told, result.task_status, result.delay)

    def _failure(self, told: Mapping[str, Any], status: str | None, delay: float | None) -> None:
        if told["reason"] == "timeout":
            self._tell("pgflow_task_timed_out", task=told["task"], seconds=told["seconds"])
        if status == "queued":
            self._tell("pgflow_task_retried", **told, delay=delay or 0.0)
        else:
            self._tell("pgflow_task_failed", **told)

    def _steps(self, flow_slug: str, run_id: UUID, transitions: Transitions) -> None:
        for ended in transitions.steps:
            if not self._is_news((run_id, ended.step_slug)):
                continue
            step = StepInfo(flow_slug, run_id, ended.step_slug)
            if ended.status == "completed":
                self._tell("pgflow_step_completed", step=step)
            elif ended.status == "failed":
                self._tell("pgflow_step_failed", step=step, error=ended.error or "")
            else:
                self._tell("pgflow_step_skipped", step=step, reason=ended.reason or "")

    def _run(self, flow_slug: str, run_id: UUID, transitions: Transitions) -> None:
        ended = transitions.run
        if ended is None or not self._is_news(run_id):
            return
        run = RunInfo(flow_slug, run_id, ended.started_at, ended.ended_at)
        if ended.status == "completed":
            self._tell("pgflow_run_completed", run=run)
        else:
            self._tell("pgflow_run_failed", run=run, error=ended.error or "")

    def _is_news(self, end: Hashable) -> bool:
        if end in self._ended:
            return False
        self._ended[end] = None
        if len(self._ended) > _REMEMBERED_ENDS:
            self._ended.popitem(last=False)
        return True

    # The executors' witness ------------------------------------------------------------------------------

    def call_started(self, call: TaskCall) -> None:
        """Tell that a handler begins."""
        if self._tells_starts:
            self._begins("pgflow_task_started", task=info_of(call))

    def child_started(self, child: ChildInfo) -> None:
        """Tell that a child is up."""
        self._tell("pgflow_child_started", child=child)

    def child_lost(self, child: ChildInfo, code: int | None, cause: str, calls: Sequence[TaskCall]) -> None:
        """Tell that a child has gone."""
        tasks = tuple(info_of(call) for call in calls)
        self._tell("pgflow_child_lost", child=child, cause=cause, exit_code=code, tasks=tasks)


def info_of(call: TaskCall) -> TaskInfo:
    """Return what hooks see of a call."""
    return TaskInfo(call.flow.slug, call.run_id, call.step.slug, call.task_index, call.attempt, call.worker_id)
