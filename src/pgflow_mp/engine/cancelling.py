"""Stopping what runs for nothing: tasks that the database no longer counts as ours.

A run was cancelled or failed, its flow was deleted, or the task was given to somebody else because this worker was
silent for too long. Whatever came of such a task would change nothing (D-5), so it is ended: a child is killed, a
coroutine cancelled, a call that waits for its turn dropped, a thread told (`ctx.cancelled`).

A cancellation is announced (channel `pgflow_mp_cancelled`); that is a hint. The truth is asked for every 4 s, for all
calls under way in one statement, so it also finds what was never announced, or not heard.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import psycopg

from pgflow_mp.connecting import sentence_of
from pgflow_mp.core.queries.tasks import lost_tasks
from pgflow_mp.engine.returning import key_of_call
from pgflow_mp.engine.wait import wait_for_event

if TYPE_CHECKING:
    from pgflow_mp.engine.holding import Holding
    from pgflow_mp.engine.link import Link
    from pgflow_mp.executors.base import TaskCall
    from pgflow_mp.executors.fleet import Fleet

logger = logging.getLogger("pgflow_mp.cancelling")

CANCELLED_CHANNEL = "pgflow_mp_cancelled"

LOOK_SECONDS = 4.0
"""From one look to the next, where nothing was announced."""


class Canceller:
    """Asks which calls are lost, and has them ended.

    Args:
        link: Where to ask.
        fleet: Has the calls.
        holding: What this worker holds.
    """

    def __init__(self, link: Link, fleet: Fleet, holding: Holding) -> None:
        self._link = link
        self._fleet = fleet
        self._holding = holding
        self._wake = asyncio.Event()
        self._told: set[TaskCall] = set()  # a thread may run on for long

    def heard(self, payload: str) -> None:
        """Look soon if the announcement may concern us: it lists ids of runs, or nothing where they were too many."""
        if not payload or any(str(call.run_id) in payload for call in self._fleet.calls()):
            self._wake.set()

    def ended(self, call: TaskCall) -> None:
        """Take note of a call that was ended. There is nothing to settle: it is not ours any more.

        Unless it has come back: a task that was taken from a silent worker may be claimed by the same one again, under
        the same name (D-4).
        """
        key = key_of_call(call)
        if all(key_of_call(other) != key for other in self._fleet.calls()):
            self._holding.settled([key])

    async def run(self) -> None:
        """Look at intervals until cancelled."""
        while True:
            await wait_for_event(self._wake, LOOK_SECONDS)
            self._wake.clear()
            try:
                await self.look()
            except (psycopg.Error, OSError) as error:
                logger.warning("what was cancelled is not known: %s", sentence_of(error))

    async def look(self) -> None:
        """Ask once, and end what is lost.

        Raises:
            psycopg.Error: The database cannot tell now.
        """
        calls = self._fleet.calls()
        self._told.intersection_update(calls)
        if not calls:
            return
        keys = [key_of_call(call) for call in calls]
        for place in await self._link.run(lost_tasks(keys)):
            self._end(calls[place])

    def _end(self, call: TaskCall) -> None:
        self._fleet.cancel(call)
        if call not in self._told:
            self._told.add(call)
            logger.info("the result of step `%s` of run %s is not wanted any more", call.step.slug, call.run_id)
