"""After a claim that broke off: what does the database believe that we hold?

Whether a claim was carried out cannot be known when its connection breaks. So for a minute after one, and in no hurry,
the worker compares its books with the database's and gives back what it never heard of. It is done between two claims,
never beside one: what a claim has just brought is in the books then.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

from pgflow_mp.core.queries.tasks import held_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from uuid import UUID

    from pgflow_mp.engine.holding import Holding
    from pgflow_mp.engine.link import Link
    from pgflow_mp.engine.returning import Returner

logger = logging.getLogger("pgflow_mp.claim")

# The server may carry out a claim some time after we have given its connection up.
DOUBT_SECONDS = 60.0
LOOK_SECONDS = 5.0


class Reconciler:
    """Finds tasks that are with this worker without its knowledge."""

    def __init__(
        self, link: Link, holding: Holding, returner: Returner, worker_ids: Callable[[], Collection[UUID]]
    ) -> None:
        self._link = link
        self._holding = holding
        self._returner = returner
        self._worker_ids = worker_ids
        self._doubt_ends = -math.inf
        self._next_look = -math.inf

    def doubt(self) -> None:
        """A claim broke off."""
        self._next_look = time.monotonic()
        self._doubt_ends = self._next_look + DOUBT_SECONDS

    async def dispel(self) -> None:
        """Compare if there is doubt and it is time; must not run beside a claim.

        Raises:
            psycopg.Error: The database cannot tell now; the doubt remains.
        """
        now = time.monotonic()
        if not self._next_look <= now < self._doubt_ends:
            return
        held = await self._link.run(held_tasks(list(self._worker_ids())))
        strays = [key for key in held if key not in self._holding]
        if strays:
            logger.warning("%d tasks of a claim that broke off go back", len(strays))
            await self._returner.give_back(strays)
        self._next_look = now + LOOK_SECONDS
