"""Where a person watches a run: a live table on a terminal, plain lines anywhere else. Always on stderr.

stdout belongs to the run's output alone, so that `pgflow-mp run ... | jq` works. Both displays are told lines
to say and snapshots of the run to show, the last one when it has ended.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pgflow_mp.cli import progress as words

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import TextIO

    from rich.console import RenderableType

    from pgflow_mp.core.queries.progress import RunProgress, StepProgress

_MARKS = {
    "completed": Text("✔", "green"),
    "failed": Text("✘", "bold red"),
    "skipped": Text("↷", "yellow"),
    "created": Text("·", "dim"),
}


class Display(Protocol):
    """Shows one run."""

    def say(self, line: str) -> None:
        """A line of its own, above everything that moves."""
        ...

    def waiting(self, reason: str) -> AbstractContextManager[object]:
        """Something takes a moment before there is progress to show."""
        ...

    def show(self, progress: RunProgress) -> None:
        """The run as it is now."""
        ...

    def close(self) -> None:
        """Leave the last picture standing."""
        ...


def display(stream: TextIO | None = None) -> Display:
    """The display that fits the stream (stderr): live on a terminal that can draw it, else lines."""
    stream = stream if stream is not None else sys.stderr
    console = Console(file=stream)
    if console.is_terminal and not console.is_dumb_terminal and console.encoding.startswith("utf"):
        return LiveDisplay(console)
    return LineDisplay(stream)


class LineDisplay:
    """Plain lines, each complete and flushed: for logs, pipes and CI."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._reporter = words.Reporter()

    def say(self, line: str) -> None:
        """Write the line."""
        print(line, file=self._stream, flush=True)

    def waiting(self, reason: str) -> AbstractContextManager[object]:
        """A log needs no line that only says that the next one takes a moment."""
        del reason
        return nullcontext()

    def show(self, progress: RunProgress) -> None:
        """Write what is new."""
        for line in self._reporter.lines(progress):
            self.say(line)

    def close(self) -> None:
        """Nothing moves, so nothing has to be left."""


class LiveDisplay:
    """One row a step, redrawn in place at each snapshot."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(console=console, auto_refresh=False)  # what others write to stderr goes above it

    def say(self, line: str) -> None:
        """Print the line above the table."""
        self._console.print(Text(line), soft_wrap=True)

    def waiting(self, reason: str) -> AbstractContextManager[object]:
        """A spinner with the reason, gone when it is over."""
        return self._console.status(Text(reason, "dim"), spinner="dots", spinner_style="cyan")

    def show(self, progress: RunProgress) -> None:
        """Redraw the table."""
        if not self._live.is_started:
            self._live.start()
        # The line below the table is short: the ^C that a terminal echoes at its end must not wrap.
        self._live.update(Group(self._table(progress), Text(words.summary(progress), "dim")), refresh=True)

    def close(self) -> None:
        """Stop redrawing; the table stays."""
        self._live.stop()

    def _table(self, progress: RunProgress) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(no_wrap=True)
        table.add_column(width=24)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column()  # the only one that may be cut: `_remark`
        for step in progress.steps:
            table.add_row(*self._row(step, progress))
        return table

    def _row(self, step: StepProgress, progress: RunProgress) -> tuple[RenderableType, ...]:
        seconds = "" if step.seconds is None else words.duration(step.seconds)
        return (
            self._spinner if step.status == "started" else _MARKS.get(step.status, Text(" ")),
            Text(step.slug, "dim" if step.status == "created" else ""),
            _bar(step),
            Text(_count(step)),
            Text(seconds, "dim"),
            _remark(step, progress),
        )


def _bar(step: StepProgress) -> RenderableType:
    if not step.is_map or step.status in {"created", "skipped"} or not step.tasks:
        return Text("")
    return ProgressBar(total=step.tasks, completed=step.done, width=24)


def _count(step: StepProgress) -> str:
    if not step.is_map or step.tasks is None:
        return ""
    return f"{step.done:,}/{step.tasks:,}"


def _remark(step: StepProgress, progress: RunProgress) -> Text:
    remark, style = _remark_words(step, progress)
    return Text(remark, style, no_wrap=True, overflow="ellipsis")


def _remark_words(step: StepProgress, progress: RunProgress) -> tuple[str, str]:
    """What else there is to say about a step, and the style to say it in."""
    if step.status == "failed":
        return words.first_line(step.error), "red"
    if step.status == "skipped":
        return words.skipped_because(step), "yellow"
    if step.retrying:
        return words.trouble(step), "yellow"
    if step.status == "started" and step.running and words.said(step):
        return words.said(step), "cyan"
    if step.status == "started" and step.is_map and step.running:
        return f"{step.running} running", "dim"
    if step.status == "created":
        return _waiting(step, progress), "dim"
    return "", ""


def _waiting(step: StepProgress, progress: RunProgress) -> str:
    if progress.ended:
        return "not started"
    open_steps = {other.slug for other in progress.steps if not other.ended}
    deps = [dep for dep in step.deps if dep in open_steps]
    return f"waits for {', '.join(deps)}" if deps else ""
