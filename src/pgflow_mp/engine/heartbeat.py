"""The worker's sign of life, and what it learns from it.

Beats come from the parent's own timer, on a connection of their own, whatever the handlers do: silence of 15 s
means that the worker is dead and its tasks go to others (D-3). A beat answers whether an operator asked the
worker to finish (`deprecated_at`), or deleted its row, which means the same (generations 12).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import psycopg

from pgflow_mp.core.queries.workers import heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from pgflow_mp.engine.link import Link

logger = logging.getLogger("pgflow_mp.heartbeat")

# ensure_workers takes a worker for dead after 6 s of silence (core WK-5).
BEAT_SECONDS = 4.0


class Heart:
    """Beats for all worker rows of this process."""

    def __init__(self, link: Link, worker_ids: Mapping[str, UUID], on_deprecated: Callable[[str], None]) -> None:
        self._link = link
        self._slugs = {worker_id: slug for slug, worker_id in worker_ids.items()}
        self._on_deprecated = on_deprecated

    async def run(self) -> None:
        """Beat until cancelled. A missed beat is only logged: the next one is 4 s away."""
        while True:
            try:
                for worker_id, deprecated in (await self._link.run(heartbeat(list(self._slugs)))).items():
                    if deprecated:
                        self._on_deprecated(self._slugs[worker_id])
            except (psycopg.Error, OSError) as error:
                logger.warning("heartbeat failed: %s", str(error).strip())
            await asyncio.sleep(BEAT_SECONDS)
