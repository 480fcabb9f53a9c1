"""``pgflow-mp show``: one run as a tree of its steps and those of their tasks that are worth a line.

On a terminal each line has a bar that shows when in the run the step or task ran. Inputs and outputs take one line
each; ``--json`` has all of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from pgflow_mp.cli.database import session
from pgflow_mp.cli.exits import OK
from pgflow_mp.cli.failure import explain
from pgflow_mp.cli.naming import stored_run
from pgflow_mp.cli.objects import as_json
from pgflow_mp.cli.output import Column, console, print_json, print_line, print_table
from pgflow_mp.cli.progress import duration, first_line, skip_words
from pgflow_mp.cli.text import safe
from pgflow_mp.cli.words import STYLES, mark, moment, run_status, status_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from pgflow_mp.cli.output import Cell
    from pgflow_mp.results import Run, StepState, StepTask

#: Tasks of a step that are listed without --tasks.
_LISTED: Final = 20
_BAR_CELLS: Final = 24

_COLUMNS = (
    Column("STEP"),
    Column("STATUS"),
    Column("TASKS", justify="right"),
    Column("TIME", justify="right"),
    Column("ATTEMPTS", justify="right"),
    Column("REMARK", least=24),
)


def run(arguments: argparse.Namespace) -> int:
    """Show the run; the exit code does not depend on how it went."""
    with session(arguments) as db:
        found = stored_run(db, arguments.run_id)
    if arguments.json:
        print_json(as_json(found))
        return OK
    _show(found, all_tasks=arguments.tasks)
    return OK


def _show(found: Run, *, all_tasks: bool) -> None:
    print_line(_headline(found))
    _print_field("run", str(found.run_id))
    if found.started_at is not None:
        _print_field("started", moment(found.started_at))
    if found.retry_of is not None:
        _print_field("retry of", str(found.retry_of))
    _print_field("input", _compact(found.input))
    if found.completed:
        _print_field("output", _compact(found.output))
    print_line()
    tree = list(_lines(found, all_tasks=all_tasks))
    if console().is_terminal:
        scale = _Scale(found)
        columns = (Column(""), *_COLUMNS[:4], Column("WHEN", spare=1), *_COLUMNS[4:])
        print_table(columns, [line.drawn(scale.bar(line)) for line in tree])
    else:
        print_table(_COLUMNS, [line.plain() for line in tree])
    if found.failed:
        print_line()
        print_line(explain(found))


def _headline(found: Run) -> Text:
    time = f" in {duration(found.seconds)}" if found.seconds is not None else f", {_running_for(found)}"
    sign = mark(run_status(found).plain)
    return Text.assemble(sign, " " * bool(sign), (f"{found.flow_slug} ", "bold"), run_status(found), time)


def _running_for(found: Run) -> str:
    if found.started_at is None:
        return "not ended"
    return f"for {duration(max(0.0, (datetime.now(UTC) - found.started_at).total_seconds()))} now"


def _print_field(name: str, value: str) -> None:
    screen = console()
    line = Text.assemble((f"{name:<8} ", "dim"), safe(value))
    if screen.is_terminal:
        line.truncate(screen.width, overflow="ellipsis")
    print_line(line)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the tree.

    Attributes:
        branch: What connects it with the tree, on a terminal.
        name: The step or task.
        cells: What stands in the other columns.
        status: Of the step or task; empty for a line that only counts.
        began: Where its bar begins; None for no bar.
        ended: Where it ends; None for one that goes on.
    """

    branch: str
    name: Text
    cells: tuple[Cell, ...]
    status: str = ""
    began: datetime | None = None
    ended: datetime | None = None

    def drawn(self, bar: Text) -> tuple[Cell, ...]:
        """The cells for a terminal, with a mark, the branch and the bar."""
        name = Text().append(self.branch, "dim").append_text(self.name)
        return (mark(self.status) if self.status else "", name, *self.cells[:3], bar, *self.cells[3:])

    def plain(self) -> tuple[Cell, ...]:
        """The cells for a pipe; tasks stand a little to the right."""
        return ("  " * (len(self.branch) // 4) + self.name.plain, *self.cells)


def _lines(found: Run, *, all_tasks: bool) -> Iterator[_Line]:
    steps = list(found.steps.values())
    for step in steps:
        is_last = step is steps[-1]
        yield _step_line(step, "└─ " if is_last else "├─ ", found)
        yield from _task_lines(step, "   " if is_last else "│  ", all_tasks=all_tasks)


def _step_line(step: StepState, branch: str, found: Run) -> _Line:
    done = sum(task.completed for task in step.tasks)
    cells = (
        status_text(step.status),
        f"{done:,}/{len(step.tasks):,}" if len(step.tasks) > 1 else "",
        _time(step),
        str(step.attempts) if step.attempts > 1 else "",
        _step_remark(step, found),
    )
    name = Text(step.slug, "bold")
    return _Line(branch, name, cells, step.status, step.started_at, step.completed_at or step.failed_at)


def _step_remark(step: StepState, found: Run) -> Text:
    """What else there is to say: why it was skipped or failed, what it is waiting for."""
    if step.skipped:
        return Text(safe(skip_words(step.skip_reason)), "yellow")
    if step.failed:
        return Text(first_line(step.error), "red")
    if step.status == "created" and found.ended:
        return Text("not started", "dim")
    if len(step.tasks) == 1 and not step.completed:
        return _task_remark(step.tasks[0])
    return Text("")


def _task_lines(step: StepState, indent: str, *, all_tasks: bool) -> Iterator[_Line]:
    """The tasks of a map step that are worth a line, and how many others there are."""
    if len(step.tasks) < 2:
        return
    listed = list(step.tasks) if all_tasks else [task for task in step.tasks if _is_worth_a_line(task)][:_LISTED]
    rest = len(step.tasks) - len(listed)
    for task in listed:
        is_last = not rest and task is listed[-1]
        yield _task_line(task, f"{indent}{'└─ ' if is_last else '├─ '}")
    if listed and rest:
        yield _Line(f"{indent}└─ ", Text(f"{rest:,} more", "dim"), ("",) * 5)


def _is_worth_a_line(task: StepTask) -> bool:
    return task.status in {"started", "failed"} or task.error is not None or task.attempts > 1


def _task_line(task: StepTask, branch: str) -> _Line:
    cells = (
        status_text(task.status),
        "",
        _time(task),
        str(task.attempts) if task.attempts > 1 else "",
        _task_remark(task),
    )
    began = None if task.status == "queued" else task.started_at
    return _Line(branch, Text(f"[{task.task_index}]"), cells, task.status, began, task.completed_at or task.failed_at)


def _task_remark(task: StepTask) -> Text:
    if task.status == "started" and task.progress is not None:
        return Text(safe(str(task.progress)), "cyan")
    if task.error is None or task.completed:
        return Text("")
    if task.failed:
        return Text(first_line(task.error), "red")
    return Text(f"tried again after {first_line(task.error)}", "yellow")


def _time(state: StepState | StepTask) -> str:
    if state.started_at is None or state.status in {"created", "queued"}:
        return ""
    if state.seconds is not None:
        return duration(state.seconds)
    return duration(max(0.0, (datetime.now(UTC) - state.started_at).total_seconds()))


class _Scale:
    """Where in the run a time lies."""

    def __init__(self, found: Run) -> None:
        self._began = found.started_at or datetime.now(UTC)
        self._ended = found.completed_at or found.failed_at or datetime.now(UTC)

    def bar(self, line: _Line) -> Text:
        """A bar from its start to its end, at least one cell long."""
        whole = (self._ended - self._began).total_seconds()
        if line.began is None or whole <= 0:
            return Text("")
        left = self._cell(line.began, whole)
        right = max(left + 1, self._cell(line.ended or self._ended, whole))
        return Text(" " * left + "━" * (right - left), STYLES.get(line.status, ""))

    def _cell(self, at: datetime, whole: float) -> int:
        return min(_BAR_CELLS - 1, max(0, round((at - self._began).total_seconds() / whole * _BAR_CELLS)))
