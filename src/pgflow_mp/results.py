"""Run, StepState, StepTask: what comes back from the database, as frozen data a person can read.

Statuses are the contract's words (decision D-19): a run is ``started``, ``completed`` or ``failed``; a
step also ``created`` or ``skipped``; a task also ``queued``, ``skipped`` or ``cancelled``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

from pgflow_mp.errors import StepNotFound
from pgflow_mp.rules import did_you_mean, shown

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    OutputT = TypeVarWithDefault("OutputT", default=Any)
else:  # Python 3.13 has such variables at run time too
    OutputT = TypeVar("OutputT")

_Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a task is, as its handler last said (`ctx.progress`).

    Attributes:
        fraction: From 0 to 1; None where it did not say.
        message: What was going on.
        reported_at: When it arrived.
    """

    fraction: float | None
    message: str | None
    reported_at: datetime | None = None

    def __str__(self) -> str:
        parts = ("" if self.fraction is None else f"{self.fraction:.0%}", self.message or "")
        return " ".join(filter(None, parts))


@dataclass(frozen=True, slots=True)
class StepTask:
    """One task: a single step has one, a map step one for each element.

    Attributes:
        task_index: The element's place; 0 for a single step.
        status: ``queued``, ``started``, ``completed``, ``failed``, ``skipped`` or ``cancelled``.
        attempts: How often it was started.
        output: What the handler returned.
        error: The last error, also while it waits for its next attempt.
        worker_id: The worker that had it last.
        progress: How far its last attempt is, or came; None where it did not say.
    """

    task_index: int
    status: str
    attempts: int = 0
    output: Any = None
    error: str | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    worker_id: UUID | None = None
    progress: Progress | None = None

    @classmethod
    def from_row(cls, row: _Row) -> StepTask:
        """Make it from a row of ``pgflow.step_tasks`` as ``to_jsonb`` gives it (core 2.6)."""
        return cls(
            task_index=row.get("task_index", 0),
            status=row["status"],
            attempts=row.get("attempts_count", 0),
            output=row.get("output"),
            error=row.get("error_message"),
            worker_id=_uuid(row.get("last_worker_id")),
            progress=_progress(row.get("progress")),
            **_times(row, "queued_at", "started_at", "completed_at", "failed_at"),
        )

    @property
    def completed(self) -> bool:
        """Whether it completed."""
        return self.status == "completed"

    @property
    def failed(self) -> bool:
        """Whether it failed for good."""
        return self.status == "failed"

    @property
    def seconds(self) -> float | None:
        """Seconds from the start of its last attempt to its end; None while it has not ended."""
        return _seconds(self.started_at, self.completed_at or self.failed_at)


@dataclass(frozen=True, slots=True, repr=False)
class StepState:
    """A step within a run.

    Attributes:
        slug: The step.
        status: ``created``, ``started``, ``completed``, ``failed`` or ``skipped``.
        output: A single step's output; a map step's outputs as a list.
        error: Why it failed: its own message, else that of its first failed task.
        skip_reason: ``condition_unmet``, ``handler_failed`` or ``dependency_skipped``.
        tasks: Its tasks by index; empty where tasks were not asked for.
        remaining_tasks: Tasks not completed yet; None before it started.
    """

    slug: str
    status: str
    output: Any = None
    error: str | None = None
    skip_reason: str | None = None
    tasks: tuple[StepTask, ...] = ()
    remaining_tasks: int | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    skipped_at: datetime | None = None

    @classmethod
    def from_row(cls, row: _Row, tasks: tuple[StepTask, ...] = ()) -> StepState:
        """Make it from a row of ``pgflow.step_states`` as ``to_jsonb`` gives it (core 2.5)."""
        return cls(
            slug=row["step_slug"],
            status=row["status"],
            output=row.get("output"),
            error=row.get("error_message") or next((task.error for task in tasks if task.failed), None),
            skip_reason=row.get("skip_reason"),
            tasks=tasks,
            remaining_tasks=row.get("remaining_tasks"),
            **_times(row, "created_at", "started_at", "completed_at", "failed_at", "skipped_at"),
        )

    @property
    def completed(self) -> bool:
        """Whether it completed."""
        return self.status == "completed"

    @property
    def failed(self) -> bool:
        """Whether it failed."""
        return self.status == "failed"

    @property
    def skipped(self) -> bool:
        """Whether it was skipped."""
        return self.status == "skipped"

    @property
    def attempts(self) -> int:
        """The largest number of attempts among its tasks; 0 without tasks."""
        return max((task.attempts for task in self.tasks), default=0)

    @property
    def seconds(self) -> float | None:
        """Seconds from its start to its end; None while it has not ended or never started."""
        return _seconds(self.started_at, self.completed_at or self.failed_at or self.skipped_at)

    def __str__(self) -> str:
        notes = [self.skip_reason] if self.skip_reason else []
        if len(self.tasks) > 1:
            notes.append(f"{len(self.tasks)} tasks")
        if self.attempts > 1:
            notes.append(f"{self.attempts} attempts")
        return f"{self.slug} {self.status}" + (f" ({', '.join(notes)})" if notes else "")

    def __repr__(self) -> str:
        return f"<StepState {self}{_error_note(self.error)}>"


class Steps(Mapping[str, StepState]):
    """The steps of a run by slug, in definition order; an unknown slug tells which there are."""

    __slots__ = ("_flow_slug", "_steps")

    def __init__(self, flow_slug: str, steps: Mapping[str, StepState]) -> None:
        self._flow_slug = flow_slug
        self._steps = dict(steps)

    def __getitem__(self, slug: str) -> StepState:
        try:
            return self._steps[slug]
        except KeyError:
            known = ", ".join(self._steps) or "not known: the run was read without its steps"
            raise StepNotFound(
                f"flow `{self._flow_slug}` has no step {shown(slug)}{did_you_mean(slug, self._steps)}; "
                f"its steps are {known}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)

    def __repr__(self) -> str:
        return f"<Steps {', '.join(map(str, self._steps.values()))}>"


@dataclass(frozen=True, slots=True, repr=False)
class Run(Generic[OutputT]):
    """One execution of a flow, as it was when it was read.

    Attributes:
        run_id: Its id.
        flow_slug: The flow.
        status: ``started``, ``completed`` or ``failed``.
        input: What it was started with.
        output: Leaf step -> output once it completed (core 3.12); None where no leaf completed. Of the type that the
            flow says, where its class was named (`start_flow_sync`, `get_run(flow=...)`).
        remaining_steps: Steps that are neither completed nor skipped yet.
        steps: Its steps by slug; empty where they were not asked for.
        cancelled: Whether it failed because somebody cancelled it (D-20).
        retry_of: The run that it repeats, or None.
        failure: Why it failed, as the database tells it without its steps.
    """

    run_id: UUID
    flow_slug: str
    status: str
    input: Any = None
    output: OutputT = None  # type: ignore[assignment]  # it is None until the run has completed
    remaining_steps: int = 0
    started_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    steps: Steps = field(default_factory=lambda: Steps("", {}))
    cancelled: bool = False
    retry_of: UUID | None = None
    failure: str | None = None

    @classmethod
    def from_details(cls, details: _Row) -> Run:
        """Make it from ``{"run": row, "steps": [row...], "tasks": [row...]}`` (core 2.4 to 2.6).

        Rows are as ``to_jsonb`` gives them; ``steps`` and ``tasks`` may be left out. Steps come in the
        order of ``step_index`` where the rows have it, else of their start.
        """
        row = details["run"]
        tasks: dict[str, list[StepTask]] = {}
        for task in sorted(details.get("tasks") or (), key=lambda task: task.get("task_index", 0)):
            tasks.setdefault(task["step_slug"], []).append(StepTask.from_row(task))
        states = {
            step["step_slug"]: StepState.from_row(step, tuple(tasks.get(step["step_slug"], ())))
            for step in sorted(details.get("steps") or (), key=_step_order)
        }
        return cls(
            run_id=_required_uuid(row["run_id"]),
            flow_slug=row["flow_slug"],
            status=row["status"],
            input=row.get("input"),
            output=row.get("output"),
            remaining_steps=row.get("remaining_steps") or 0,
            steps=Steps(row["flow_slug"], states),
            cancelled=bool(row.get("cancelled")),
            retry_of=_uuid(row.get("retry_of")),
            failure=row.get("error"),
            **_times(row, "started_at", "completed_at", "failed_at"),
        )

    @classmethod
    def from_row(cls, row: _Row) -> Run:
        """Make it from a row of ``pgflow.runs`` alone, without steps."""
        return cls.from_details({"run": row})

    @property
    def completed(self) -> bool:
        """Whether it completed."""
        return self.status == "completed"

    @property
    def failed(self) -> bool:
        """Whether it failed."""
        return self.status == "failed"

    @property
    def ended(self) -> bool:
        """Whether it completed or failed: it will not change any more."""
        return self.completed or self.failed

    @property
    def failed_step(self) -> StepState | None:
        """The step that failed first, or None."""
        failed = [step for step in self.steps.values() if step.failed]
        return min(failed, key=lambda step: _stamp(step.failed_at), default=None)

    @property
    def error(self) -> str | None:
        """Why it failed: `Run cancelled`, else the error of the step that failed first; None where no step did."""
        step = self.failed_step
        return step.error if step is not None and not self.cancelled else self.failure

    @property
    def seconds(self) -> float | None:
        """Seconds from its start to its end; None while it has not ended."""
        return _seconds(self.started_at, self.completed_at or self.failed_at)

    def __repr__(self) -> str:
        steps = f": {', '.join(map(str, self.steps.values()))}" if self.steps else ""
        return f"<Run {self.flow_slug} {self.run_id} {self.status}{steps}{_error_note(self.error)}>"


def _error_note(error: str | None) -> str:
    return f"; {error.splitlines()[0]}" if error and error.strip() else ""


def _step_order(row: _Row) -> tuple[Any, ...]:
    index = row.get("step_index")
    return (index is None, index or 0, str(row.get("started_at") or "~"), row["step_slug"])


def _progress(row: _Row | None) -> Progress | None:
    return Progress(row["fraction"], row["message"], _time(row["reported_at"])) if row else None


def _times(row: _Row, *names: str) -> dict[str, datetime | None]:
    return {name: _time(row.get(name)) for name in names}


def _time(value: datetime | str | None) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _stamp(time: datetime | None) -> float:
    return time.timestamp() if time is not None else float("inf")


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return (end - start).total_seconds() if start is not None and end is not None else None


def _uuid(value: UUID | str | None) -> UUID | None:
    return UUID(value) if isinstance(value, str) else value


def _required_uuid(value: UUID | str) -> UUID:
    return UUID(value) if isinstance(value, str) else value
