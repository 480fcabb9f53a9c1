"""What an examination finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "trouble"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: How bad it is: ``note`` is worth knowing, ``warning`` may need a look, ``trouble`` needs a person.
        about: Which part: server, installation, generations, features, timeouts, slugs, telemetry, rights, flows,
            schedules, workers, rows, transactions.
        text: What was found.
        command: What mends it; None where nothing has to be, or no command does.
    """

    level: Level
    about: str
    text: str
    command: str | None = None
