"""Listening for work: a notification wakes the claim loop within milliseconds.

It is only a hint. When the connection breaks, polling goes on, and the connection is opened again; whatever
was announced in between is found because every new connection wakes the claim loop once.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pgflow_mp.engine.backoff import Backoff
from pgflow_mp.engine.link import LOST, Link

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

logger = logging.getLogger("pgflow_mp.listen")

WORK_CHANNEL = "pgflow_mp_work"


class Listener:
    """Wakes somebody when work is announced for one of the flows."""

    def __init__(self, dsn: str, flow_slugs: Collection[str], wake: Callable[[], None]) -> None:
        self._link = Link(dsn, "listen")
        self._flow_queues = frozenset(slug.lower() for slug in flow_slugs)
        self._wake = wake

    async def run(self) -> None:
        """Listen until cancelled."""
        backoff = Backoff()
        try:
            while True:
                try:
                    connection = await self._link.connection()
                    await connection.execute(f"LISTEN {WORK_CHANNEL}")
                    backoff.reset()
                    self._wake()
                    async for notification in connection.notifies():
                        if self._concerns_us(notification.payload):
                            self._wake()
                except LOST as error:
                    logger.warning("lost the notification connection; polling goes on: %s", str(error).strip())
                await self._link.close()
                await asyncio.sleep(backoff.next())
        finally:
            await self._link.close()

    def _concerns_us(self, payload: str) -> bool:
        """Tell by the queue names; an empty payload means that they were too many to list.

        The queue of a step is `flow__step`, and no slug holds two underscores (generations QN-5).
        """
        return not payload or any(queue.partition("__")[0] in self._flow_queues for queue in payload.split(","))
