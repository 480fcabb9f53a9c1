"""When what ran: the tasks of a run on one clock, and a Gantt chart of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_pgflow._table import draw

if TYPE_CHECKING:
    from datetime import datetime

    from pgflow_mp.results import Run

CHART_WIDTH = 50
MOST_ROWS = 60


@dataclass(frozen=True, slots=True)
class Span:
    """The last attempt of a task.

    Attributes:
        step: The step.
        task_index: The task of the step.
        attempt: Which attempt it was.
        status: The task's status.
        start: Seconds from the start of the run.
        end: Seconds from the start of the run; None while it goes on.
    """

    step: str
    task_index: int
    attempt: int
    status: str
    start: float
    end: float | None


class Timeline(Sequence[Span]):
    """The tasks that were started, in the order of their start; `str` draws them."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = tuple(spans)

    @classmethod
    def of(cls, run: Run) -> Timeline:
        """Make the timeline of a run that was read with its steps."""
        spans = [
            Span(
                step.slug,
                task.task_index,
                task.attempts,
                task.status,
                _offset(task.started_at, run),
                _offset(end, run) if (end := task.completed_at or task.failed_at) else None,
            )
            for step in run.steps.values()
            for task in step.tasks
            if task.started_at is not None
        ]
        return cls(sorted(spans, key=lambda span: span.start))

    def __getitem__(self, index: int) -> Span:  # type: ignore[override] # no slices: nobody needs half a timeline
        return self._spans[index]

    def __len__(self) -> int:
        return len(self._spans)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} tasks>"

    def __str__(self) -> str:
        return draw(("task", "from", "to", "status", ""), list(self._rows()))

    def _rows(self) -> Iterator[tuple[str, ...]]:
        last = max((span.start if span.end is None else span.end for span in self._spans), default=0.0) or 1.0
        maps = {span.step for span in self._spans if span.task_index > 0}
        for span in self._spans[:MOST_ROWS]:
            name = f"{span.step}[{span.task_index}]" if span.step in maps else span.step
            end = "" if span.end is None else f"{span.end:.3f}"
            yield name, f"{span.start:.3f}", end, _status(span), _bar(span, last)
        if len(self._spans) > MOST_ROWS:
            yield f"... {len(self._spans) - MOST_ROWS} more", "", "", "", ""


def _offset(time: datetime | None, run: Run) -> float:
    return (time - run.started_at).total_seconds() if time is not None and run.started_at is not None else 0.0


def _status(span: Span) -> str:
    return span.status if span.attempt < 2 else f"{span.status}, attempt {span.attempt}"


def _bar(span: Span, last: float) -> str:
    first = min(int(span.start / last * CHART_WIDTH), CHART_WIDTH - 1)
    end = CHART_WIDTH if span.end is None else max(first + 1, round(span.end / last * CHART_WIDTH))
    return " " * first + "#" * (end - first) + (">" if span.end is None else "")
