"""Where to look for work: everywhere, or only in the flows for which some was announced.

A look into an empty queue costs the database a tenth of a millisecond, which a worker of many flows would pay for all
of them whenever one of them has a task. Once everything has been looked through and nothing was left, only what has
been announced since can have work, so the next look goes there. An announcement is a hint: at every interval, and
whenever something else than an announcement gave cause to look, the look goes everywhere.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pgflow_mp.engine.sources import Source


class Lookout:
    """What was announced since the last look.

    Args:
        interval: Seconds after which a look goes everywhere, whatever was announced.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._announced: set[str] = set()
        self._everywhere = True
        self._next = 0.0

    def announced(self, flow_slugs: Iterable[str]) -> None:
        """Note that these flows may have work."""
        self._announced.update(flow_slugs)

    def everywhere(self) -> None:
        """Note that there may be work anywhere."""
        self._everywhere = True

    def choose(self, sources: Collection[Source]) -> list[Source]:
        """Return the sources to look into now; what is noted from now on counts for the next look."""
        now = time.monotonic()
        announced, self._announced = self._announced, set()
        chosen = [source for source in sources if source.flow_slug in announced]
        if chosen and not self._everywhere and now < self._next:
            return chosen
        self._everywhere = False
        self._next = now + self._interval
        return list(sources)
