"""Passing over the queues of very many flows where nothing stirs.

To look into an empty queue costs the database a tenth of a millisecond; a thousand of them every second would keep a
core busy for a tenth of its time. So a worker of more than a few flows first asks which queues can have messages at
all (`pgflow_mp.stirred_flows`): a queue that was empty, and whose messages have not been numbered further since, is
empty still. That costs a hundredth of a millisecond a flow. A queue with messages that are only hidden (a retry, a
delay) counts as stirred, so what becomes visible by itself is found as ever.

A queue that has messages is not asked about again before a look into it has brought none.

The answer is a hint: a message that was numbered early and committed late is missed by it. Such commits are announced;
in case the announcement is lost, some queues are looked into at every time without asking, each in its turn.
"""

from __future__ import annotations

from itertools import cycle, islice
from typing import TYPE_CHECKING

from pgflow_mp.core.queries.queues import stirred_flows

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from pgflow_mp.engine.link import Link
    from pgflow_mp.engine.sources import Source

FEW_FLOWS = 24
"""Up to so many, looking costs no more than asking."""

BLIND_LOOKS = 8
"""Flows that are looked into without asking, each time."""


class Stillness:
    """What is known of queues that are empty.

    Args:
        link: Where claims go.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._marks: dict[str, int] = {}
        self._stirring: set[str] = set()
        self._turns: Iterator[str] = iter(())
        self._of: frozenset[str] = frozenset()

    def found_nothing(self, flow_slugs: Collection[str]) -> None:
        """A look into the queues of these flows has brought nothing: ask again whether they have messages."""
        self._stirring.difference_update(flow_slugs)

    def forget(self, flow_slugs: Collection[str]) -> None:
        """Know nothing of these flows: their queues may be others now."""
        self._stirring.difference_update(flow_slugs)
        for slug in flow_slugs:
            self._marks.pop(slug, None)

    async def stirred(self, sources: Sequence[Source]) -> list[Source]:
        """Return the sources that may have tasks.

        Raises:
            psycopg.Error: The database does not answer.
        """
        slugs = list(dict.fromkeys(source.flow_slug for source in sources))
        if len(slugs) <= FEW_FLOWS:
            return list(sources)
        asked = [slug for slug in slugs if slug not in self._stirring]
        found = await self._link.run(stirred_flows(asked, [self._marks.get(slug, -1) for slug in asked]))
        self._marks |= {slug: mark for slug, mark in found.items() if mark is not None}
        self._stirring |= {slug for slug, mark in found.items() if mark is None}
        looked_into = self._stirring.union(self._in_turn(slugs))
        return [source for source in sources if source.flow_slug in looked_into]

    def _in_turn(self, slugs: Sequence[str]) -> list[str]:
        if self._of != frozenset(slugs):
            self._of, self._turns = frozenset(slugs), cycle(slugs)
        return list(islice(self._turns, BLIND_LOOKS))
