"""How long to wait after a failure: doubling with jitter, reset by a success (generations 12)."""

from __future__ import annotations

import random

FIRST_SECONDS = 0.1
LAST_SECONDS = 5.0


class Backoff:
    """Delays of 0.1 s doubling to 5 s, each shortened at random by up to half, so that workers do not march in step."""

    __slots__ = ("_ceiling",)

    def __init__(self) -> None:
        self._ceiling = FIRST_SECONDS

    def next(self) -> float:
        """Return the seconds to wait before the next try."""
        delay = self._ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        self._ceiling = min(self._ceiling * 2, LAST_SECONDS)
        return delay

    def reset(self) -> None:
        """Start again from the shortest delay: something worked."""
        self._ceiling = FIRST_SECONDS
