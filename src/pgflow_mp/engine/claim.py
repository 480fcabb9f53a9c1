"""Claiming: ask the database for as many tasks as can start, hand them to the executor, and wait when there are none.

Four things end a wait: a notification that work is available, a child that became free or is about to (where the last
look left work behind), and the poll interval.
Polling is the truth, the notification only a hint.

The sources (`engine.sources`; all of them, or those with news: `engine.lookout`) are asked in one round trip, and share
the room equally. Who got tasks goes to the end of the line: where there is room for one task only, those that wait get
it in turn, and a long queue keeps no other one out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING

import psycopg

from pgflow_mp.connecting import sentence_of
from pgflow_mp.core.queries.tasks import claim_tasks
from pgflow_mp.engine.backoff import Backoff
from pgflow_mp.engine.drift import drifted
from pgflow_mp.engine.link import LOST
from pgflow_mp.engine.lookout import Lookout
from pgflow_mp.engine.passing import Passing
from pgflow_mp.engine.returning import key_of_claim
from pgflow_mp.engine.sources import sources_of
from pgflow_mp.engine.stillness import Stillness
from pgflow_mp.engine.wait import wait_for_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
    from uuid import UUID

    from pgflow_mp.core.queries.tasks import ClaimedTask, TaskKey
    from pgflow_mp.definition import FlowDefinition
    from pgflow_mp.engine.announce import Announcer
    from pgflow_mp.engine.appetite import Appetite, Wish
    from pgflow_mp.engine.dispatch import Dispatch
    from pgflow_mp.engine.holding import Holding
    from pgflow_mp.engine.link import Link
    from pgflow_mp.engine.reconcile import Reconciler
    from pgflow_mp.engine.returning import Returner
    from pgflow_mp.engine.sources import Source
    from pgflow_mp.engine.strangers import Strangers
    from pgflow_mp.executors.fleet import Fleet

logger = logging.getLogger("pgflow_mp.claim")

# A task of a step that no worker knows comes back so often; there may be one by then that does.
UNKNOWN_STEP_DELAY_SECONDS = 5


class Claimer:
    """The claim loop of a worker.

    Attributes:
        is_full: Nothing more could start at the last look, so the database was not asked.
        last_success: When the database last answered a claim (monotonic); None before the first.
    """

    def __init__(
        self,
        link: Link,
        *,
        flows: Mapping[str, FlowDefinition],
        worker_ids: Mapping[str, UUID],
        executor: Fleet,
        appetite: Appetite,
        dispatch: Dispatch,
        holding: Holding,
        reconciler: Reconciler,
        returner: Returner,
        strangers: Strangers,
        announcer: Announcer,
        poll_interval: float,
        only_runs: Sequence[UUID] | None,
        freshen: Callable[[bool], Awaitable[None]] | None = None,
    ) -> None:
        self._link = link
        self._worker_ids = worker_ids
        self._flows = flows
        self._sources = [source for slug in worker_ids for source in sources_of(flows[slug])]
        self._executor = executor
        self._appetite = appetite
        self._dispatch = dispatch
        self._holding = holding
        self._reconciler = reconciler
        self._returner = returner
        self._strangers = strangers
        self._announcer = announcer
        self._poll_interval = poll_interval
        self._only_runs = only_runs
        self._freshen = freshen
        self._stillness = Stillness(link)
        self._passing = Passing()
        self._wake = asyncio.Event()
        self._lookout = Lookout(poll_interval)
        self._left_some = True
        self._stopped = asyncio.Event()
        self.is_full = False
        self.last_success: float | None = None

    def wake(self, flow_slugs: Collection[str] | None = None) -> None:
        """Look for work now: some was announced for these flows, or there may be some in any."""
        if flow_slugs is None:
            self._lookout.everywhere()
        else:
            self._lookout.announced(flow_slugs)
        self._wake.set()

    def room_grew(self) -> None:
        """Look for what the last claim had no room for, unless it left nothing: what came since was announced.

        Only for a worker that hears; without announcements, an ended task may have made others ready: `wake`.
        """
        if self._left_some:
            self.wake()

    def stop(self) -> None:
        """Claim nothing more; what a claim under way returns is given back."""
        self._stopped.set()
        self._wake.set()

    def join(self, *flow_slugs: str) -> None:
        """Claim tasks of these flows, as they are now; their workers are registered."""
        self.leave(*flow_slugs)
        self._stillness.forget(flow_slugs)
        for flow_slug in flow_slugs:
            self._sources += sources_of(self._flows[flow_slug])

    def leave(self, *flow_slugs: str) -> None:
        """Claim no more tasks of these flows."""
        left = set(flow_slugs)
        self._sources = [source for source in self._sources if source.flow_slug not in left]

    async def run(self) -> None:
        """Claim until stopped."""
        backoff = Backoff()
        is_away = False
        while not self._stopped.is_set():
            self._wake.clear()
            try:
                await self._reconciler.dispel()
                if self._freshen is not None:
                    await self._freshen(False)  # noqa: FBT003
                hungry = await self._claim()
            except (psycopg.Error, OSError) as error:
                # A refused statement, say a missing queue, is a poll error like a lost connection (generations 2.6).
                delay, is_away = backoff.next(), True
                self._lookout.everywhere()
                self._reconciler.doubt()
                kind = "lost the database" if isinstance(error, LOST) else "was refused"
                why = await drifted(self._link, error) or sentence_of(error)
                self._announcer.poll_failed(why, delay)
                logger.warning("claiming %s, trying again in %.1f s: %s", kind, delay, why)
                await wait_for_event(self._stopped, delay)
                continue
            backoff.reset()
            if is_away:
                is_away = False
                logger.info("claiming works again")
            if hungry:
                await wait_for_event(self._wake, self._pause())

    def _pause(self) -> float:
        return min(self._poll_interval, self._appetite.until_room()) if self._left_some else self._poll_interval

    async def _claim(self) -> bool:
        """Claim once; return whether there was room for more than there was work."""
        asked = self._lookout.choose(self._sources)
        self.is_full = not self._wanted(asked)
        if self.is_full:
            self._left_some = True
            return True  # nothing can start; a finished task wakes the loop
        if self._only_runs is None:
            asked = await self._stillness.stirred(asked)
        wanted = self._wanted(asked)
        if not wanted:
            self.last_success = time.monotonic()
            self._left_some = False
            return True
        began = time.monotonic()
        claimed = await self._link.run(
            claim_tasks(
                [source.flow_slug for source in wanted],
                [self._worker_ids[source.flow_slug] for source in wanted],
                [wish.quantity for wish in wanted.values()],
                self._only_runs,
                steps=[self._passing.filter_of(source) for source in wanted],
                most=[wish.most for wish in wanted.values()],
                lanes=_lanes(wanted),
            )
        )
        self.last_success = time.monotonic()
        served = Counter(self._source_of(task, wanted) for task in claimed)
        self._left_some = len(wanted) < len(asked) or not _found_all(served, wanted)
        if not self._left_some:
            self._stillness.found_nothing({source.flow_slug for source in wanted if not served[source]})
        if self._left_some:
            self._lookout.everywhere()
        self._sources.sort(key=served.__contains__)  # a stable sort: those that got nothing first
        if claimed:
            keys = self._keys(claimed)
            self._holding.claimed(keys)
            self._announcer.claimed(claimed, keys, self.last_success - began)
            await self._start(claimed)
        return all(served[source] < wish.all for source, wish in wanted.items())

    def _wanted(self, asked: Iterable[Source]) -> dict[Source, Wish]:
        wishes = {source: self._appetite.wish(source, self._executor.size_of(source.executor)) for source in asked}
        return {source: wish for source, wish in wishes.items() if wish}

    def _source_of(self, task: ClaimedTask, wanted: Mapping[Source, Wish]) -> Source | None:
        return next((s for s in wanted if s.flow_slug == task.flow_slug and s.covers(task.step_slug)), None)

    async def _start(self, claimed: Sequence[ClaimedTask]) -> None:
        try:
            calls, unknown = await self._dispatch.calls(claimed)
        except BaseException:
            await self._return(claimed)
            raise
        if self._stopped.is_set():
            await self._return(claimed)
            return
        for call in calls:
            self._appetite.submitted(call)
            self._executor.submit(call)
        if unknown and self._freshen is not None:  # a flow may have changed since it was read
            await self._freshen(True)  # noqa: FBT003
            await self._return([task for task in unknown if self._knows(task)])
            unknown = [task for task in unknown if not self._knows(task)]
        met = await self._strangers.meet(unknown)
        self._passing.over(met.for_others)
        await self._return(met.for_others)
        await self._return(met.for_nobody, delay=UNKNOWN_STEP_DELAY_SECONDS)

    def _knows(self, task: ClaimedTask) -> bool:
        return any(step.slug == task.step_slug for step in self._flows[task.flow_slug].steps)

    async def _return(self, claimed: Sequence[ClaimedTask], *, delay: int = 0) -> None:
        if claimed:
            await self._returner.give_back(self._keys(claimed), delay=delay)

    def _keys(self, claimed: Sequence[ClaimedTask]) -> list[TaskKey]:
        return [key_of_claim(task, self._worker_ids[task.flow_slug]) for task in claimed]


def _lanes(sources: Iterable[Source]) -> list[int]:
    """Return the lane of each source: those with one executor share its room."""
    lanes: dict[str, int] = {}
    return [lanes.setdefault(source.executor, len(lanes) + 1) for source in sources]


def _found_all(served: Mapping[Source | None, int], wanted: Mapping[Source, Wish]) -> bool:
    """Whether every source was certainly offered more than it had: room for one more of it is left."""
    left = 1.0 - sum(served[source] / wish.quantity for source, wish in wanted.items())
    return all(left * wish.quantity >= 1 and served[source] < wish.all for source, wish in wanted.items())
