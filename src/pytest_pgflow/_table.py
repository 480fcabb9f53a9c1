"""A run as a table for people: one line for each step, in the order of the flow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgflow_mp.results import Run, StepState

VALUE_WIDTH = 60


def run_table(run: Run) -> str:
    """Draw the steps with status, attempts, time and what came of them."""
    return draw(
        ("step", "status", "tasks", "attempts", "seconds", "output or error"),
        [(step.slug, *_cells(step)) for step in run.steps.values()],
    )


def _cells(step: StepState) -> tuple[str, ...]:
    done = sum(task.completed for task in step.tasks)
    tasks = f"{done}/{len(step.tasks)}" if len(step.tasks) > 1 else ""
    seconds = "" if step.seconds is None else f"{step.seconds:.3f}"
    return (step.status, tasks, str(step.attempts or ""), seconds, _outcome(step))


def _outcome(step: StepState) -> str:
    error = step.error or next((task.error for task in step.tasks if task.error), None)
    if step.completed:
        return shorten(step.output)
    if step.skipped:
        return f"{step.skip_reason}: {first_line(error)}" if error else str(step.skip_reason)
    return first_line(error) if error else ""


def first_line(text: str) -> str:
    """Return the first line, shortened."""
    return _cut(text.split("\n", 1)[0])


def shorten(value: Any) -> str:
    """Return a JSON value as one short line."""
    return _cut(json.dumps(value, ensure_ascii=False, default=repr))


def _cut(text: str) -> str:
    return text if len(text) <= VALUE_WIDTH else f"{text[: VALUE_WIDTH - 3]}..."


def draw(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Draw columns; those that are empty in every row are left out."""
    wanted = [i for i in range(len(head)) if i == 0 or any(row[i] for row in rows)]
    lines = [[row[i] for i in wanted] for row in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(wanted))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)
