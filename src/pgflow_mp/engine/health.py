"""Whether a worker does its work: judged by the database's answers, not by the process being there."""

from __future__ import annotations

import time
from dataclasses import dataclass

HEALTHY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Health:
    """A worker's health at one moment (D-22).

    Attributes:
        ok: The database answered a poll within `HEALTHY_SECONDS`.
        seconds: Since that answer; None when there was none yet.
    """

    ok: bool
    seconds: float | None

    @classmethod
    def since(cls, answered: float | None) -> Health:
        """Judge by the monotonic time of the last answer."""
        if answered is None:
            return cls(ok=False, seconds=None)
        seconds = time.monotonic() - answered
        return cls(ok=seconds <= HEALTHY_SECONDS, seconds=seconds)
