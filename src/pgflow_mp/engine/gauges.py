"""Gauges: what can only be measured, such as the depth of a queue, measured at intervals for whoever listens (D-28).

Counting a long queue costs the database something, so it is done only where a plugin has the hook, not often, and on
the connection that recovery uses, for which nothing else waits.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import astuple
from typing import TYPE_CHECKING

import psycopg

from pgflow_mp.connecting import sentence_of
from pgflow_mp.core.queries.queues import queue_depths
from pgflow_mp.hooks.events import Gauges, QueueInfo

if TYPE_CHECKING:
    from collections.abc import Collection

    from pgflow_mp.engine.link import Link
    from pgflow_mp.executors.fleet import Fleet
    from pgflow_mp.hooks.observers import Observers

logger = logging.getLogger("pgflow_mp.gauges")

HOOK = "pgflow_gauges"
GAUGE_SECONDS = 10.0


class Meter:
    """Measures the queues of a worker's flows, and its pool.

    Args:
        link: A connection that may take its time.
        flow_slugs: The flows; read at every measurement.
        fleet: The pool.
        observers: Whom to tell.
    """

    def __init__(self, link: Link, flow_slugs: Collection[str], fleet: Fleet, observers: Observers) -> None:
        self._link = link
        self._flow_slugs = flow_slugs
        self._fleet = fleet
        self._observers = observers

    async def run(self) -> None:
        """Measure at intervals, beginning now, until cancelled; never, where nobody listens."""
        while HOOK in self._observers.heard:
            try:
                self._observers.tell(HOOK, gauges=await self._measure())
            except (psycopg.Error, OSError) as error:
                logger.warning("measuring the queues failed: %s", sentence_of(error))
            await asyncio.sleep(GAUGE_SECONDS)
        await asyncio.Event().wait()  # a loop of a worker that ends would end the worker

    async def _measure(self) -> Gauges:
        depths = await self._link.run(queue_depths(self._flow_slugs))
        running = sum(status.running for status in self._fleet.status().values())
        return Gauges(tuple(QueueInfo(*astuple(depth)) for depth in depths), running, self._fleet.size)
