"""Starting what is due by schedule: the work of any worker, and of exactly one for each tick.

Every worker runs this loop, for the schedules of all flows; nobody is elected, so nobody's death holds them up. A look
tells what is due by the database's clock; what follows from it is worked out here (`progress_of`) and written in one
transaction, if the schedule still is as it was seen (`pgflow_mp.start_ticks`). Who comes second changes nothing.

Between looks the loop sleeps until the next tick that it knows of, a few seconds at most: a schedule may be new, and a
clock that was put back or forward is noticed then.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import psycopg

from pgflow_mp.connecting import sentence_of
from pgflow_mp.core.queries.runs import get_run_with_states
from pgflow_mp.core.queries.schedules import Progress, due_schedules, start_ticks
from pgflow_mp.engine.backoff import Backoff
from pgflow_mp.hooks.events import RunInfo
from pgflow_mp.hooks.observers import tell_started, wants_states
from pgflow_mp.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from pgflow_mp.core.queries.schedules import DueSchedules, Seen, StartedTick
    from pgflow_mp.core.statement import Statement
    from pgflow_mp.engine.link import Link
    from pgflow_mp.hooks.observers import Observers

logger = logging.getLogger("pgflow_mp.schedules")

LOOK_SECONDS: Final = 5.0
SOON_SECONDS: Final = 0.05
"""After a start that found nothing left to do: somebody else is at it."""
LATE: Final = timedelta(minutes=1)
"""A tick that is later than this was missed: `catch_up="skip"` passes over it."""
MOST_TICKS: Final = 1000
"""Ticks of one schedule that are started in one transaction."""


class Schedules:
    """The loop.

    Args:
        link: A connection; its statements are few.
        worker_id: Named in the ticks that this worker starts.
        observers: Are told of the runs.
    """

    def __init__(self, link: Link, worker_id: UUID | None, observers: Observers) -> None:
        self._link = link
        self._worker_id = worker_id
        self._observers = observers

    async def run(self) -> None:
        """Start what is due until cancelled."""
        backoff = Backoff()
        while True:
            try:
                wait = await self.start_due()
            except (psycopg.Error, OSError) as error:
                logger.warning("schedules are not looked after: %s", sentence_of(error))
                await asyncio.sleep(backoff.next())
            else:
                backoff.reset()
                await asyncio.sleep(wait)

    async def start_due(self) -> float:
        """Start what is due now; return in how many seconds to look again."""
        due = await self._link.run(due_schedules())
        statement = starting(due, self._worker_id)
        if statement is None:
            return LOOK_SECONDS if due.wait is None else min(max(due.wait, 0), LOOK_SECONDS)
        started = await self._link.run(statement)
        for tick in started:
            await self._tell(tick)
        return 0 if started else SOON_SECONDS

    async def _tell(self, tick: StartedTick) -> None:
        if tick.run is None:
            logger.error("schedule %s could not start %s: %s", tick.schedule_name, tick.flow_slug, tick.error)
            return
        logger.info("schedule %s has started run %s of %s", tick.schedule_name, tick.run.run_id, tick.flow_slug)
        info = RunInfo(tick.flow_slug, tick.run.run_id, tick.run.started_at)
        states = None
        if wants_states(self._observers, tick.run.status):
            with suppress(psycopg.Error, OSError):  # the tick has started all the same
                states = await self._link.run(get_run_with_states(tick.run.run_id))
        tell_started(self._observers, info, tick.run.status, tick.run.ended_at, states)


def starting(due: DueSchedules, worker_id: UUID | None = None) -> Statement[list[StartedTick]] | None:
    """Return the statement that starts what is due; None when nothing is."""
    progress = [each for seen in due.schedules if (each := _progress_or_complaint(seen, due.now)) is not None]
    if not progress:
        return None
    return start_ticks(progress, [new_id() for each in progress for _ in each.ticks], worker_id)


def progress_of(seen: Seen, now: datetime) -> Progress:
    """Work out which ticks of a due schedule to start at a moment, and when it is due again.

    All that were missed, one by one; or of several the newest only, unless it is late and such ticks are skipped.
    """
    schedule, starts_at = seen.schedule, seen.starts_at
    if seen.considered_at > now:  # the clock was put back: nothing is due, and what has ticked has its key
        return Progress(seen, now, schedule.next_tick(now, starts_at), ())
    if schedule.catch_up == "all":
        ticks = _ticks_between(seen, now)
        considered = ticks[-1] if len(ticks) == MOST_TICKS else now
        return Progress(seen, considered, schedule.next_tick(considered, starts_at), tuple(ticks))
    latest = schedule.latest_tick(now, starts_at)
    missed = latest is None or latest <= seen.considered_at or (schedule.catch_up == "skip" and now - latest > LATE)
    return Progress(seen, now, schedule.next_tick(now, starts_at), () if latest is None or missed else (latest,))


def _ticks_between(seen: Seen, now: datetime) -> Sequence[datetime]:
    ticks: list[datetime] = []
    tick = seen.schedule.next_tick(seen.considered_at, seen.starts_at)
    while tick <= now and len(ticks) < MOST_TICKS:
        ticks.append(tick)
        tick = seen.schedule.next_tick(tick, seen.starts_at)
    return ticks


def _progress_or_complaint(seen: Seen, now: datetime) -> Progress | None:
    try:
        return progress_of(seen, now)
    except Exception as error:  # noqa: BLE001 - a time zone that only this machine lacks, say; others go on
        logger.error("schedule %s cannot be worked out here: %s", seen.name, error)  # noqa: TRY400
        return None
