"""A line in the log for each event, with the ids of worker, run, step and task.

    pgflow-mp serve app.flows --plugin pgflow_mp.plugins.log:KeyValueLog
    pgflow-mp serve app.flows --plugin pgflow_mp.plugins.log:JsonLog

Records go to the logger `pgflow_mp.events`. The fields are attributes of the record as well (`extra`), under the same
names in every style; the message of `FieldLog` is the event's name alone, as structlog's `ExtraAdder` wants it. What
handlers do is INFO, what is tried again WARNING, what failed for good ERROR, what matters in a close look DEBUG.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from pgflow_mp.hooks import hookimpl

if TYPE_CHECKING:
    from pgflow_mp.hooks import ChildInfo, FailureReason, RunInfo, StepInfo, TaskInfo, WorkerInfo

logger = logging.getLogger("pgflow_mp.events")


class KeyValueLog:
    """Writes `event key=value key="two words"`."""

    def line(self, event: str, fields: dict[str, Any]) -> str:
        """Return the message of an event."""
        return " ".join([event, *(f"{name}={_quoted(value)}" for name, value in fields.items())])

    def write(self, level: int, event: str, **fields: Any) -> None:
        """Log an event."""
        if logger.isEnabledFor(level):
            logger.log(level, "%s", self.line(event, fields), extra={"event": event, **fields})

    @hookimpl
    def pgflow_worker_started(self, worker: WorkerInfo) -> None:
        self.write(logging.INFO, "worker_started", **_worker(worker), flows=[slug for slug, _ in worker.worker_ids])

    @hookimpl
    def pgflow_worker_stopping(self, worker: WorkerInfo) -> None:
        self.write(logging.INFO, "worker_stopping", **_worker(worker))

    @hookimpl
    def pgflow_worker_stopped(self, worker: WorkerInfo, left_claimed: int) -> None:
        level = logging.ERROR if left_claimed else logging.INFO
        self.write(level, "worker_stopped", **_worker(worker), left_claimed=left_claimed)

    @hookimpl
    def pgflow_child_started(self, child: ChildInfo) -> None:
        self.write(logging.DEBUG, "child_started", pid=child.pid, kind=child.kind)

    @hookimpl
    def pgflow_child_lost(
        self, child: ChildInfo, cause: str, exit_code: int | None, tasks: tuple[TaskInfo, ...]
    ) -> None:
        fields = {"kind": child.kind, "exit_code": exit_code, "cause": _first_line(cause), "tasks": len(tasks)}
        self.write(logging.WARNING, "child_lost", pid=child.pid, **fields)

    @hookimpl
    def pgflow_task_started(self, task: TaskInfo) -> None:
        self.write(logging.DEBUG, "task_started", **_task(task))

    @hookimpl
    def pgflow_task_completed(self, task: TaskInfo, seconds: float) -> None:
        self.write(logging.INFO, "task_completed", **_task(task), seconds=round(seconds, 6))

    @hookimpl
    def pgflow_task_retried(
        self, task: TaskInfo, error: str, reason: FailureReason, seconds: float, delay: float
    ) -> None:
        fields = {"reason": reason, "error": _first_line(error), "seconds": round(seconds, 6), "delay": delay}
        self.write(logging.WARNING, "task_retried", **_task(task), **fields)

    @hookimpl
    def pgflow_task_failed(self, task: TaskInfo, error: str, reason: FailureReason, seconds: float) -> None:
        fields = {"reason": reason, "error": _first_line(error), "seconds": round(seconds, 6)}
        self.write(logging.ERROR, "task_failed", **_task(task), **fields)

    @hookimpl
    def pgflow_step_skipped(self, step: StepInfo, reason: str) -> None:
        self.write(logging.INFO, "step_skipped", **_run(step), step_slug=step.step_slug, reason=reason)

    @hookimpl
    def pgflow_run_started(self, run: RunInfo) -> None:
        self.write(logging.INFO, "run_started", **_run(run))

    @hookimpl
    def pgflow_run_completed(self, run: RunInfo) -> None:
        self.write(logging.INFO, "run_completed", **_run(run), seconds=run.seconds)

    @hookimpl
    def pgflow_run_failed(self, run: RunInfo, error: str) -> None:
        self.write(logging.ERROR, "run_failed", **_run(run), error=_first_line(error), seconds=run.seconds)

    @hookimpl
    def pgflow_flow_compiled(self, flow_slug: str, status: str, differences: tuple[str, ...]) -> None:
        self.write(logging.INFO, "flow_compiled", flow_slug=flow_slug, status=status, differences=[*differences])

    @hookimpl
    def pgflow_poll_failed(self, error: str, delay: float) -> None:
        self.write(logging.WARNING, "poll_failed", error=error, delay=delay)

    @hookimpl
    def pgflow_settle_failed(self, count: int, error: str, delay: float) -> None:
        self.write(logging.WARNING, "settle_failed", count=count, error=error, delay=delay)

    @hookimpl
    def pgflow_events_dropped(self, count: int) -> None:
        self.write(logging.WARNING, "events_dropped", count=count)


class JsonLog(KeyValueLog):
    """Writes one JSON object a line, `event` first."""

    def line(self, event: str, fields: dict[str, Any]) -> str:
        """Return the message of an event."""
        return json.dumps({"event": event, **fields}, ensure_ascii=False)


class FieldLog(KeyValueLog):
    """Writes the event's name alone; all else is in the record."""

    def line(self, event: str, fields: dict[str, Any]) -> str:  # noqa: ARG002 - for those that are
        """Return the message of an event."""
        return event


def _task(task: TaskInfo) -> dict[str, Any]:
    attempt = {"task_index": task.task_index, "attempt": task.attempt, "worker_id": str(task.worker_id)}
    return {**_run(task), "step_slug": task.step_slug, **attempt}


def _run(of: RunInfo | StepInfo | TaskInfo) -> dict[str, Any]:
    return {"flow_slug": of.flow_slug, "run_id": str(of.run_id)}


def _worker(worker: WorkerInfo) -> dict[str, Any]:
    return {"worker": worker.name, "host": worker.host, "pid": worker.pid}


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return json.dumps(text, ensure_ascii=False) if not text or set(text) & set(' "=\n\t') else text
