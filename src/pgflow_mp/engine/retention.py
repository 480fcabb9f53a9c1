"""Retention: runs that ended long enough ago are deleted, a batch at a time.

How long they are kept is the database's to say (`app.set_retention`): 30 days where `pgflow-mp install` made the
schema. Every worker runs this loop; the database lets one of them sweep at a time, and nobody for ten minutes after a
sweep that found nothing more. Batches are small transactions with pauses between them, so that work goes on.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import psycopg

from pgflow_mp.connecting import sentence_of
from pgflow_mp.core.queries.retention import Pruned, get_retention, sweep
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    from pgflow_mp.engine.link import Link

logger = logging.getLogger("pgflow_mp.retention")

FIRST_SECONDS = 60.0
"""After the start, so that short-lived workers sweep nothing."""

SWEEP_SECONDS = 600.0
"""From one sweep to the next, of all workers together."""

BATCH_SIZE = 500
"""Runs in one transaction."""

BATCH_PAUSE_SECONDS = 0.2


class Sweeper:
    """Deletes what is older than it shall be kept.

    Args:
        link: Its own; a batch may take a while.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    async def run(self) -> None:
        """Say what is kept, then sweep at intervals until cancelled."""
        pause = FIRST_SECONDS
        await self._tell()
        while True:
            await asyncio.sleep(pause)
            pause = SWEEP_SECONDS
            try:
                deleted = await self.sweep()
            except (psycopg.Error, OSError) as error:
                logger.warning("old runs could not be deleted: %s", sentence_of(error))
            else:
                if deleted:
                    logger.info(
                        "deleted what has been kept long enough: %s, %s",
                        counted(deleted.runs, "run"),
                        counted(deleted.archived, "archived message"),
                    )
            await self._link.close()  # it would be idle for most of the time

    async def sweep(self) -> Pruned:
        """Delete all that is to be deleted now, unless somebody else does; tell how much.

        Raises:
            psycopg.Error: The database refuses, or is away.
        """
        deleted = await self._link.run(sweep(BATCH_SIZE, SWEEP_SECONDS))
        while deleted.more:
            await asyncio.sleep(BATCH_PAUSE_SECONDS)
            deleted += await self._link.run(sweep(BATCH_SIZE, SWEEP_SECONDS))
        return deleted

    async def _tell(self) -> None:
        try:
            kept = await self._link.run(get_retention())
        except (psycopg.Error, OSError) as error:
            logger.warning("how long runs are kept is not known: %s", sentence_of(error))
        else:
            logger.info("runs are kept %s after their end", kept)
        await self._link.close()
