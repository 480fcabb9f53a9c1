"""The worker's sign of life, and what it learns from it.

Beats come from the parent's own timer, on a connection of their own, whatever the handlers do: silence of 15 s
means that the worker is dead and its tasks go to others (D-3). A beat answers whether an operator asked the
worker to finish (`deprecated_at`), or deleted its row, which means the same (generations 12); on a core from before
that rule the row is made again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import psycopg

from pgflow_mp.connecting import sentence_of
from pgflow_mp.core.queries.workers import heartbeat
from pgflow_mp.engine.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from pgflow_mp.core.statement import Statement
    from pgflow_mp.engine.link import Link

logger = logging.getLogger("pgflow_mp.heartbeat")

# ensure_workers takes a worker for dead after 6 s of silence (core WK-5).
BEAT_SECONDS = 4.0

# A beat that takes longer is sent again on a new connection: three of them fit into the silence that is death.
LONGEST_BEAT_SECONDS = 4.0


class Heart:
    """Beats for all worker rows of this process.

    Args:
        link: Used by few others, so that a beat never waits; its statements end within `LONGEST_BEAT_SECONDS`.
        worker_ids: The worker of each flow; read at every beat.
        on_deprecated: Called with each flow whose worker is to finish, at every beat.
        registration: Makes the rows of workers, by flow.

    Attributes:
        last_success: When the database last answered a beat (monotonic); None before the first.
    """

    def __init__(
        self,
        link: Link,
        worker_ids: Mapping[str, UUID],
        on_deprecated: Callable[[str], None],
        registration: Callable[[Mapping[str, UUID]], Statement[None]],
    ) -> None:
        self._link = link
        self._worker_ids = worker_ids
        self._on_deprecated = on_deprecated
        self._registration = registration
        self.last_success: float | None = None

    async def run(self) -> None:
        """Beat until cancelled, every 4 s from one beginning to the next; soon again after a beat that failed."""
        backoff = Backoff()
        while True:
            began = time.monotonic()
            try:
                await self._beat()
            except (psycopg.Error, OSError) as error:
                logger.warning("heartbeat failed: %s", sentence_of(error))
                await asyncio.sleep(backoff.next())
            else:
                backoff.reset()
                await asyncio.sleep(max(began + BEAT_SECONDS - time.monotonic(), 0))

    async def _beat(self) -> None:
        slugs = {worker_id: slug for slug, worker_id in self._worker_ids.items()}
        answers = await self._link.run(heartbeat(list(slugs)))
        self.last_success = time.monotonic()
        for worker_id, deprecated in answers.items():
            if deprecated:
                self._on_deprecated(slugs[worker_id])
            elif deprecated is None:
                await self._register_again(slugs[worker_id], worker_id)

    async def _register_again(self, slug: str, worker_id: UUID) -> None:
        logger.warning("somebody deleted the row of the worker for %s; it is made again", slug)
        try:
            await self._link.run(self._registration({slug: worker_id}))
        except psycopg.errors.ForeignKeyViolation:
            self._on_deprecated(slug)  # the flow is gone too
