"""How long a run may take, except while a person looks at it with a debugger."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Deadline:
    """A point in time that does not count once a debugger was entered.

    Args:
        seconds: From now on.
        debugged: Whether a debugger was used in this test; then there is no deadline.
    """

    def __init__(self, seconds: float, debugged: Callable[[], bool]) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self.debugged = debugged

    def passed(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._end and not self.debugged()
