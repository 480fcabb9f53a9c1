"""All runs that are under way, shown together: a table in place, or a line when a run appears, moves on and ends."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pgflow_mp.cli.objects import as_json
from pgflow_mp.cli.output import console, print_json_line, print_line
from pgflow_mp.cli.progress import duration
from pgflow_mp.core.queries.runs import get_run
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from pgflow_mp.cli.database import Session
    from pgflow_mp.core.queries.progress import ActiveRun, ActiveRuns


class CrowdDisplay(Protocol):
    """Shows many runs."""

    def show(self, runs: ActiveRuns) -> None:
        """The runs as they are now."""
        ...

    def close(self) -> None:
        """Leave the last picture standing."""
        ...


def crowd_display(db: Session, flow: str | None, *, json: bool) -> CrowdDisplay:
    """What fits stdout.

    Args:
        db: Where a run that is no longer under way is looked up.
        flow: The flow whose runs are watched, for the title; None for all.
        json: JSON lines are wanted.
    """
    screen = console()
    if json:
        return CrowdJson(db)
    if screen.is_terminal and not screen.is_dumb_terminal:
        return CrowdTable(flow)
    return CrowdLines(db)


class CrowdTable:
    """A table that is redrawn in place, as long as the terminal is high."""

    def __init__(self, flow: str | None) -> None:
        self._title = "under way" if flow is None else f"of {flow} under way"
        self._console = console()
        self._live = Live(console=self._console, auto_refresh=False, screen=False)

    def show(self, runs: ActiveRuns) -> None:
        """Redraw the table."""
        if not self._live.is_started:
            self._live.start()
        fitting = runs.newest[: max(1, self._console.height - 4)]
        hidden = runs.in_all - len(fitting)
        below = f"{counted(runs.in_all, 'run')} {self._title}" + (f", {hidden:,} older ones not shown" * bool(hidden))
        self._live.update(Group(_table(fitting) if fitting else "", Text(below, "dim")), refresh=True)

    def close(self) -> None:
        """Stop redrawing; the table stays."""
        self._live.stop()


def _table(runs: tuple[ActiveRun, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("FLOW", style="bold", no_wrap=True)
    table.add_column("RUN", no_wrap=True, min_width=36)
    for title in ("STEPS", "TASKS", "RUNNING", "RETRYING", "FOR"):
        table.add_column(title, justify="right", no_wrap=True)
    for run in runs:
        table.add_row(
            run.flow_slug,
            str(run.run_id),
            f"{run.steps_ended}/{run.steps}",
            f"{run.done:,}/{run.tasks:,}",
            Text(str(run.running or ""), "cyan"),
            Text(str(run.retrying or ""), "yellow"),
            duration(run.seconds),
        )
    return table


class _News:
    """What is new since the last look: runs that appeared, moved on, or are no longer under way."""

    def __init__(self, db: Session) -> None:
        self._db = db
        self._known: dict[UUID, ActiveRun] = {}

    def of(self, runs: ActiveRuns) -> Iterator[tuple[str, ActiveRun]]:
        """Yield each event with the run as it was last seen under way, oldest run first.

        A run that newer ones push out of those that are read goes on unseen.
        """
        now = {run.run_id: run for run in reversed(runs.newest)}
        for run_id, run in now.items():
            before = self._known.get(run_id)
            if before is None:
                yield "started", run
            elif _moves(before) != _moves(run):
                yield "moved", run
        for run_id, run in self._known.items():
            if run_id not in now:
                ended = self._db.ask(get_run(run_id))
                if ended is None or ended.ended:
                    yield (ended.status if ended is not None else "deleted"), run
        self._known = now


def _moves(run: ActiveRun) -> tuple[int, ...]:
    return (run.steps_ended, run.tasks, run.done, run.running, run.retrying)


class CrowdLines:
    """A line for each event; of what moves, how many steps and tasks are done."""

    def __init__(self, db: Session) -> None:
        self._news = _News(db)

    def show(self, runs: ActiveRuns) -> None:
        """Print what is new."""
        for event, run in self._news.of(runs):
            print_line(f"{run.flow_slug} {run.run_id}: {_told(event, run)}")
        sys.stdout.flush()

    def close(self) -> None:
        """Nothing moves, so nothing has to be left."""


def _told(event: str, run: ActiveRun) -> str:
    if event == "started":
        return f"under way for {duration(run.seconds)}"
    if event != "moved":
        return event
    told = f"{run.steps_ended} of {counted(run.steps, 'step')} ended, {counted(run.done, 'task')} done"
    return f"{told}, {run.retrying:,} to be tried again" if run.retrying else told


class CrowdJson:
    """A line of JSON for each event."""

    def __init__(self, db: Session) -> None:
        self._news = _News(db)

    def show(self, runs: ActiveRuns) -> None:
        """Print what is new."""
        for event, run in self._news.of(runs):
            print_json_line({"event": event, **as_json(run)})

    def close(self) -> None:
        """Nothing moves, so nothing has to be left."""
