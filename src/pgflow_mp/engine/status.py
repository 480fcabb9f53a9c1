"""What one worker is doing at one moment, as plain data: for `/status`, and for whoever has the `Worker` at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from pgflow_mp.core.queries.tasks import ProgressReport
    from pgflow_mp.core.queries.workers import Process
    from pgflow_mp.definition import ExecutorName
    from pgflow_mp.engine.health import Health
    from pgflow_mp.executors.base import TaskCall
    from pgflow_mp.executors.status import ChildStatus, ExecutorStatus, RunningCall


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker at one moment.

    Attributes:
        name: Its deployment unit.
        version: Of pgflow-mp.
        process: Where it runs.
        health: Whether the database answers its polls.
        stopping: It drains, and claims nothing more.
        workers: By flow, its row in `pgflow.workers`.
        open_flows: The flows that it claims tasks of.
        held: Tasks that it has claimed and neither settled nor given back.
        executors: By kind, what they are doing.
        progress_of: Tells what a running call has last reported (`ctx.progress`).
    """

    name: str
    version: str
    process: Process
    health: Health
    stopping: bool
    workers: Mapping[str, UUID]
    open_flows: frozenset[str]
    held: int
    executors: Mapping[ExecutorName, ExecutorStatus]
    progress_of: Callable[[TaskCall], ProgressReport | None]

    @property
    def ready(self) -> bool:
        """Whether it takes tasks: the database answers, and nobody has asked it to stop."""
        return self.health.ok and not self.stopping

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; the keys are documented in docs/operating.md."""
        return {
            "name": self.name,
            "version": self.version,
            "host": self.process.host,
            "pid": self.process.pid,
            "ready": self.ready,
            "stopping": self.stopping,
            "seconds_since_database_answered": _rounded(self.health.seconds),
            "workers": [
                {"flow": slug, "worker_id": str(worker_id), "claiming": slug in self.open_flows and not self.stopping}
                for slug, worker_id in sorted(self.workers.items())
            ],
            "tasks_held": self.held,
            "executors": {kind: self._executor(status) for kind, status in self.executors.items()},
        }

    def _executor(self, status: ExecutorStatus) -> dict[str, Any]:
        return {
            "size": status.size,
            "running": status.running,
            "waiting": status.waiting,
            "children": [self._child(child) for child in status.children],
        }

    def _child(self, child: ChildStatus) -> dict[str, Any]:
        return {
            "pid": child.pid,
            "state": child.state,
            "tasks_finished": child.finished,
            "tasks": [_task(running, self.progress_of(running.call)) for running in child.calls],
        }


def _task(running: RunningCall, progress: ProgressReport | None) -> dict[str, Any]:
    call = running.call
    return {
        "flow": call.flow.slug,
        "run_id": str(call.run_id),
        "step": call.step.slug,
        "task_index": call.task_index,
        "attempt": call.attempt,
        "seconds": _rounded(running.seconds),
        "timeout": call.timeout,
        "progress": None if progress is None else {"fraction": progress.fraction, "message": progress.message},
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
