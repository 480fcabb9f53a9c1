"""Giving tasks back: what was claimed and did not start is queued again, its attempt unspent, visible at once (D-4)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pgflow_mp.connecting import sentence_of
from pgflow_mp.core.queries.tasks import TaskKey, give_back_tasks
from pgflow_mp.engine.backoff import Backoff
from pgflow_mp.engine.link import LOST

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from pgflow_mp.core.queries.tasks import ClaimedTask
    from pgflow_mp.engine.holding import Holding
    from pgflow_mp.engine.link import Link
    from pgflow_mp.executors.base import TaskCall

logger = logging.getLogger("pgflow_mp.returning")

# A worker that dies before the database is back leaves its tasks to recovery, which does the same (D-3).
TRIES_AT_MOST = 8


class Returner:
    """Gives claimed tasks back to their queues."""

    def __init__(self, link: Link, holding: Holding) -> None:
        self._link = link
        self._holding = holding

    async def give_back(self, keys: Iterable[TaskKey], *, delay: int = 0) -> None:
        """Give tasks back; they become visible after `delay` seconds. Tries again while the database is away."""
        tasks = list(keys)
        self._holding.returning(tasks)
        backoff = Backoff()
        for _ in range(TRIES_AT_MOST):
            # After an answer that was lost we may have claimed some again: these are ours now.
            tasks = self._holding.still_returning(tasks)
            if not tasks:
                return
            try:
                await self._link.run(give_back_tasks(tasks, delay=delay))
            except LOST as error:
                logger.warning("giving %d tasks back failed: %s", len(tasks), sentence_of(error))
                await asyncio.sleep(backoff.next())
            else:
                self._holding.returned(tasks)
                return
        logger.error("%d tasks could not be given back; recovery will find them", len(tasks))


def key_of_call(call: TaskCall) -> TaskKey:
    """Name the claim behind a call."""
    return TaskKey(call.run_id, call.step.slug, call.task_index, call.attempt, call.worker_id)


def key_of_claim(task: ClaimedTask, worker_id: UUID) -> TaskKey:
    """Name the claim behind a row that never became a call."""
    return TaskKey(task.run_id, task.step_slug, task.task_index, task.attempt, worker_id)
