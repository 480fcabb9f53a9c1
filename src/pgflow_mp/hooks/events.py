"""What hooks see: frozen records of plain values, made for the eye and for comparison.

They say which run, step or task something happened to, never what a task computed: outputs and inputs can be large,
and the database has them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

FailureReason: TypeAlias = Literal["raised", "timeout", "lost", "input", "output", "cancelled"]
"""Why an attempt failed: its handler raised, ran out of time, lost its process, was not called for the size of its
input, returned what is no JSON or is too large, or was ended because nobody wants its result any more (its run was
cancelled or has failed)."""


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """One attempt of one task.

    Attributes:
        flow_slug: The flow.
        run_id: The run.
        step_slug: The step.
        task_index: 0 for a single step, the element's place for a map step.
        attempt: 1 for the first attempt.
        worker_id: The row in `pgflow.workers` that claimed it; None where only the attempt is known (in a child).
    """

    flow_slug: str
    run_id: UUID
    step_slug: str
    task_index: int
    attempt: int
    worker_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Carriers:
    """What plugins pass along through the database, such as the context of a trace: text by name.

    Attributes:
        run: What `pgflow_run_carrier` gave where the run was started; empty where nobody did.
        parents: What the parents' tasks left, of at most 100 tasks.
        own: What this task leaves for those that follow it, if its attempt completes: put it in here.
    """

    run: Mapping[str, str]
    parents: tuple[Mapping[str, str], ...]
    own: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, text: bytes) -> Carriers:
        """Read what came along with a task: JSON text `[of the run, [of each parent's task]]`; empty for nothing."""
        run, parents = json.loads(text) if text else ({}, [])
        return cls(run, tuple(parents))


@dataclass(frozen=True, slots=True)
class StepInfo:
    """One step of one run.

    Attributes:
        flow_slug: The flow.
        run_id: The run.
        step_slug: The step.
    """

    flow_slug: str
    run_id: UUID
    step_slug: str


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One run.

    Attributes:
        flow_slug: The flow.
        run_id: The run.
        started_at: When it was started, on the database's clock.
        ended_at: When it was completed or failed; None while it goes on.
    """

    flow_slug: str
    run_id: UUID
    started_at: datetime
    ended_at: datetime | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it goes on."""
        return None if self.ended_at is None else (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker process.

    Attributes:
        name: The deployment unit, as `pgflow.workers` has it.
        host: The machine.
        pid: The process id of the parent.
        version: Of pgflow-mp.
        worker_ids: The flows that it works on, each with its row in `pgflow.workers`, in the order of their names.
    """

    name: str
    host: str
    pid: int
    version: str
    worker_ids: tuple[tuple[str, UUID], ...]


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """A child process of a worker.

    Attributes:
        pid: Its process id.
        kind: `process` for one that runs one task at a time, `async` for one with an event loop.
    """

    pid: int
    kind: Literal["process", "async"]


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """A queue at one moment.

    Attributes:
        flow_slug: The flow.
        queue_name: The queue: the flow's, or that of some of its steps.
        ready: Messages that a worker could take now.
        invisible: Messages that are delayed, wait for a retry, or are with a worker.
        oldest_seconds: How long the one that could be taken for longest has waited; None where there is none.
    """

    flow_slug: str
    queue_name: str
    ready: int
    invisible: int
    oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class Gauges:
    """What can only be measured, not counted, at one moment.

    Attributes:
        queues: The queues that this worker takes tasks from.
        running: How many tasks are with this worker.
        capacity: How many can run at once.
    """

    queues: tuple[QueueInfo, ...]
    running: int
    capacity: int
