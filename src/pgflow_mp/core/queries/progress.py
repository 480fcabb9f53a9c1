"""How far a run is, in one statement that is cheap enough to ask ten times a second.

Counts only, no inputs and outputs: what a person watches while the run goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from pgflow_mp.core.statement import Statement

if TYPE_CHECKING:
    from datetime import datetime
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
        fraction: How far the running task that spoke last is, from 0 to 1; None where none said so (`ctx.progress`).
        message: What it said.
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
    fraction: float | None = None
    message: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the step's status can no longer change."""
        return self.status in {"completed", "failed", "skipped"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """How far a run is.

    Attributes:
        flow_slug: Its flow.
        status: started, completed or failed.
        seconds: Since the start, or from start to end.
        steps: In definition order.
    """

    flow_slug: str
    status: str
    seconds: float
    steps: tuple[StepProgress, ...]

    @property
    def ended(self) -> bool:
        """Whether the run's status can no longer change."""
        return self.status != "started"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveRun:
    """How far one of many runs is.

    Attributes:
        run_id: The run.
        flow_slug: Its flow.
        started_at: When it began.
        seconds: Since then, by the database's clock.
        steps: How many steps it has.
        steps_ended: How many of them have completed, failed or were skipped.
        tasks: How many tasks there are so far; steps that wait have none yet.
        done: Tasks completed.
        running: Tasks that a worker has claimed and not settled.
        retrying: Tasks that failed at least once and wait for their next attempt.
    """

    run_id: UUID
    flow_slug: str
    started_at: datetime
    seconds: float
    steps: int
    steps_ended: int
    tasks: int
    done: int
    running: int
    retrying: int


@dataclass(frozen=True, slots=True)
class ActiveRuns:
    """The runs that are under way.

    Attributes:
        newest: The newest of them, newest first.
        in_all: How many there are.
    """

    newest: tuple[ActiveRun, ...]
    in_all: int


def run_progress(run_id: UUID) -> Statement[RunProgress | None]:
    """How far the run is; None if there is no such run.

    Args:
        run_id: The run.
    """
    return Statement("select * from pgflow_mp.run_progress(%s::uuid)", (run_id,), _read)


def active_runs(flow_slug: str | None = None, most: int = 100) -> Statement[ActiveRuns]:
    """The runs that are under way, of one flow or of all.

    Args:
        flow_slug: The flow; None for all.
        most: How many are read.
    """
    return Statement("select * from pgflow_mp.active_runs(%s::text, %s::int)", (flow_slug, most), _read_active)


def _read_active(rows: list[tuple[Any, ...]]) -> ActiveRuns:
    names = [field.name for field in fields(ActiveRun)]
    newest = tuple(ActiveRun(**dict(zip(names, row, strict=False))) for row in rows)
    return ActiveRuns(newest, rows[0][-1] if rows else 0)


def _read(rows: list[tuple[Any, ...]]) -> RunProgress | None:
    if not rows:
        return None
    flow_slug, status, seconds = rows[0][:3]
    steps = tuple(_read_step(row[3:]) for row in rows)
    return RunProgress(flow_slug=flow_slug, status=status, seconds=max(0.0, seconds), steps=steps)


def _read_step(row: tuple[Any, ...]) -> StepProgress:
    names = [field.name for field in fields(StepProgress)]
    found = dict(zip(names, row, strict=True))
    return StepProgress(**{**found, "deps": tuple(found["deps"])})
