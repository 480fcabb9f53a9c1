"""The end of a worker: nothing that it has claimed is left behind.

It claims nothing more, lets running tasks finish for up to `grace` seconds, gives the rest back, settles what came, and
marks its rows stopped. Whoever is in a hurry cuts the grace short. A database that does not answer is given some
seconds and no more: what could not be given back, recovery finds (D-3).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pgflow_mp.core.queries.workers import mark_workers_stopped
from pgflow_mp.engine.returning import key_of_call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from pgflow_mp.engine.claim import Claimer
    from pgflow_mp.engine.errands import TaskErrands
    from pgflow_mp.engine.link import Link
    from pgflow_mp.engine.returning import Returner
    from pgflow_mp.engine.settle import Settler
    from pgflow_mp.executors.base import TaskCall
    from pgflow_mp.executors.fleet import Fleet

LAST_WORDS_SECONDS = 10.0
"""For giving back and settling at the end, when the database does not answer."""

HURRIED_WORDS_SECONDS = 2.0
"""The same for one in a hurry."""


class Departure:
    """Ends a worker.

    Args:
        links: Its connections; closed at the end.
        grace: Seconds that running tasks may take to finish.
        worker_ids: Its rows.
        claimer: Stopped first.
        fleet: Closed then.
        returner: Gives back what did not finish.
        settler: Settles what did.
        errands: Have a last report to write.
    """

    def __init__(
        self,
        links: Mapping[str, Link],
        *,
        grace: float,
        worker_ids: Mapping[str, UUID],
        claimer: Claimer,
        fleet: Fleet,
        returner: Returner,
        settler: Settler,
        errands: TaskErrands,
    ) -> None:
        self._links = links
        self._grace = grace
        self._worker_ids = worker_ids
        self._claimer = claimer
        self._fleet = fleet
        self._returner = returner
        self._settler = settler
        self._errands = errands
        self._now = asyncio.Event()

    def hurry(self) -> None:
        """Wait for no task any more, and not long for the database."""
        self._now.set()

    async def leave(self, loops: Sequence[asyncio.Task[None]]) -> None:
        """Drain, and leave nothing claimed behind; without a database there is an end to trying.

        Args:
            loops: What the worker runs, by task names that end in `claim` and `settle` for these; cancelled at the end.
        """
        self._claimer.stop()
        by_name = {task.get_name().rpartition(" ")[2]: task for task in loops}
        unfinished = await self._close_fleet()
        speaking = asyncio.create_task(self._last_words(by_name, unfinished))
        hurry = asyncio.create_task(self._now.wait())
        await asyncio.wait([speaking, hurry], timeout=LAST_WORDS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([speaking], timeout=HURRIED_WORDS_SECONDS)
        for task in (speaking, hurry, *loops):
            task.cancel()
        await asyncio.gather(speaking, hurry, *loops, return_exceptions=True)
        for link in self._links.values():
            await link.close()

    async def _close_fleet(self) -> list[TaskCall]:
        """Close the executors with the grace that is left once somebody is in a hurry."""
        closing = asyncio.create_task(self._fleet.close(self._grace))
        hurry = asyncio.create_task(self._now.wait())
        await asyncio.wait([closing, hurry], return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not closing.done():
            closing.cancel()
            await asyncio.wait([closing])
            return await self._fleet.close(0)
        return closing.result()

    async def _last_words(self, loops: Mapping[str, asyncio.Task[None]], unfinished: list[TaskCall]) -> None:
        """Give back what did not finish, settle what did, say that this worker has stopped."""
        if "claim" in loops:
            await asyncio.wait([loops["claim"]])  # it gives back itself what it had just claimed
        unfinished += self._fleet.take_back(0)
        await self._returner.give_back(key_of_call(call) for call in unfinished)
        if "settle" in loops and not loops["settle"].done():
            await self._settler.flushed()
        await self._errands.flush()
        await self._links["claim"].run(mark_workers_stopped(list(self._worker_ids.values())))
