"""Times and statuses as a person reads them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from rich.text import Text

if TYPE_CHECKING:
    from datetime import datetime

    from pgflow_mp.results import Run

#: One colour for each meaning, everywhere.
STYLES: Final = {
    "completed": "green",
    "started": "cyan",
    "queued": "",
    "created": "dim",
    "failed": "bold red",
    "skipped": "yellow",
    "cancelled": "yellow",
    "live": "green",
    "finishing": "yellow",
    "stale": "yellow",
    "dead": "bold red",
    "stopped": "dim",
}

MARKS: Final = {"completed": "✔", "failed": "✘", "skipped": "↷", "cancelled": "⊘", "started": "●", "queued": "·"}


def status_text(status: str) -> Text:
    """The status in its colour."""
    return Text(status, STYLES.get(status, ""))


def run_status(run: Run) -> Text:
    """The run's status in its colour; a cancelled one has failed to the database (D-20)."""
    return status_text("cancelled" if run.cancelled else run.status)


def mark(status: str) -> Text:
    """A sign for the status, in its colour; none where stdout cannot write it."""
    sign = MARKS.get(status, "·") if sys.stdout.encoding.lower().startswith("utf") else ""
    return Text(sign, STYLES.get(status, ""))


def moment(at: datetime) -> str:
    """A time on the reader's clock: ``2026-11-23 12:30:01``."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
