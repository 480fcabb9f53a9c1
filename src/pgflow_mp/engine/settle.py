"""Settling: the outcomes of tasks go back to the database, many in one call.

Batches form by themselves: while one settle call is on its way the next outcomes gather, and when the system is
idle a single outcome leaves at once, so batching adds no latency. A settle names worker and attempt, and repeating
one is safe (D-5); so a lost connection only means to send the same batch again until the database has answered.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg

from pgflow_mp.connecting import sentence_of
from pgflow_mp.core.queries.carriers import leave_carriers
from pgflow_mp.core.queries.tasks import Settlement, settle_tasks
from pgflow_mp.engine.announce import info_of
from pgflow_mp.engine.backoff import Backoff
from pgflow_mp.engine.drift import drifted
from pgflow_mp.engine.link import LOST
from pgflow_mp.engine.returning import key_of_call
from pgflow_mp.executors.base import Completed, Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgflow_mp.core.queries.carriers import Place
    from pgflow_mp.core.queries.tasks import Settled
    from pgflow_mp.engine.announce import Announcer
    from pgflow_mp.engine.holding import Holding
    from pgflow_mp.engine.link import Link
    from pgflow_mp.executors.base import Outcome, TaskCall
    from pgflow_mp.hooks.deciders import Deciders

logger = logging.getLogger("pgflow_mp.settle")

MOST_TASKS = 500
MOST_BYTES = 16 * 1024 * 1024


class Settler:
    """Collects outcomes and settles them in batches, in the order in which they came."""

    def __init__(
        self,
        link: Link,
        holding: Holding,
        on_settled: Callable[[Sequence[Outcome], Sequence[Settled]], None],
        announcer: Announcer,
        deciders: Deciders,
    ) -> None:
        self._link = link
        self._announcer = announcer
        self._deciders = deciders
        self._undecided: set[asyncio.Task[None]] = set()
        self._holding = holding
        self._on_settled = on_settled
        self._pending: deque[Outcome] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, outcome: Outcome) -> None:
        """Take an outcome; it is settled as soon as the call before it is through.

        A failure waits aside while a plugin is asked for its retry delay.
        """
        self._idle.clear()
        if self._deciders.wanted and isinstance(outcome, Failed) and outcome.retryable:
            asking = asyncio.create_task(self._decide(outcome))
            self._undecided.add(asking)
            asking.add_done_callback(self._undecided.discard)
        else:
            self._enqueue(outcome)

    async def run(self) -> None:
        """Settle until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._take_batch():
                with self._announcer.settling():
                    await self._settle(batch)
            if not self._undecided:
                self._idle.set()

    async def flushed(self) -> None:
        """Wait until everything that was put is settled."""
        await self._idle.wait()

    def _enqueue(self, outcome: Outcome) -> None:
        self._pending.append(outcome)
        self._wake.set()

    async def _decide(self, failed: Failed) -> None:
        call = failed.call
        delay = await self._deciders.retry_delay(
            task=info_of(call),
            error=failed.error,
            reason=failed.reason,
            delay=usual_retry_delay(call),
        )
        self._undecided.discard(asyncio.current_task())
        self._enqueue(replace(failed, retry_delay=delay))

    def _take_batch(self) -> list[Outcome]:
        batch: list[Outcome] = []
        size = 0
        while self._pending and len(batch) < MOST_TASKS and size < MOST_BYTES:
            outcome = self._pending.popleft()
            batch.append(outcome)
            size += len(_payload(outcome))
        return batch

    async def _settle(self, batch: list[Outcome]) -> None:
        backoff = Backoff()
        began = time.monotonic()
        settlements = [settlement_of(outcome) for outcome in batch]
        statement = settle_tasks(settlements, observed=self._announcer.wants_details)
        left = left_by(batch)
        while True:
            try:
                if left:
                    await self._link.run(leave_carriers(left))
                settled = await self._link.run(statement)
            except LOST as error:
                if _too_large(error):
                    await self._settle_apart(batch, error)
                    return
                await self._pause(batch, sentence_of(error), backoff.next())
            except psycopg.Error as error:
                why = await drifted(self._link, error)
                if why is None:
                    await self._settle_apart(batch, error)
                    return
                await self._pause(batch, why, backoff.next())
            else:
                self._holding.settled([key_of_call(outcome.call) for outcome in batch])
                self._on_settled(batch, settled)
                self._announcer.settled(batch, settled, time.monotonic() - began)
                return

    async def _pause(self, batch: list[Outcome], why: str, delay: float) -> None:
        self._announcer.settle_failed(len(batch), why, delay)
        logger.warning("settling %d tasks failed, trying again in %.1f s: %s", len(batch), delay, why)
        await asyncio.sleep(delay)

    async def _settle_apart(self, batch: list[Outcome], error: Exception) -> None:
        """The database refuses the batch: find the one to blame, so that it never costs its neighbours (D-6)."""
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._settle(batch[:middle])
            await self._settle(batch[middle:])
        elif isinstance(batch[0], Completed):
            call = batch[0].call
            text = f"The database refused the output of step {call.step.slug!r}: {sentence_of(error)}"
            await self._settle([Failed(call, text, "output", seconds=batch[0].seconds)])
        else:
            # Its claim runs out and recovery takes the task; nothing is lost.
            logger.error("the database refuses a failure of %s: %s", batch[0].call.step.slug, sentence_of(error))
            self._holding.settled([key_of_call(batch[0].call)])


def settlement_of(outcome: Outcome) -> Settlement:
    """Return what to tell the database about an outcome."""
    call = outcome.call
    completed = isinstance(outcome, Completed)
    return Settlement(
        run_id=call.run_id,
        step_slug=call.step.slug,
        task_index=call.task_index,
        attempt=call.attempt,
        worker_id=call.worker_id,
        output=outcome.output if isinstance(outcome, Completed) else None,
        error=None if completed else outcome.error,  # type: ignore[union-attr]
        retryable=True if completed else outcome.retryable,  # type: ignore[union-attr]
        retry_delay=None if completed else outcome.retry_delay,  # type: ignore[union-attr]
    )


def left_by(batch: Sequence[Outcome]) -> dict[Place, str]:
    """Return what plugins leave with these outcomes for the tasks that follow."""
    return {
        (outcome.call.run_id, outcome.call.step.slug, outcome.call.task_index): outcome.carrier
        for outcome in batch
        if isinstance(outcome, Completed) and outcome.carrier is not None
    }


def usual_retry_delay(call: TaskCall) -> float:
    """Return how long the task waits after this attempt by the code's options, in seconds (D-7)."""
    base = call.flow.policy(call.step.slug).base_delay
    return float(min(base * 2.0 ** min(call.attempt, 62), 86_400.0))


def _too_large(error: Exception) -> bool:
    """Whether a limit of Postgres was hit (SQLSTATE class 54): DB-API calls it operational, but it will not pass."""
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith("54")


def _payload(outcome: Outcome) -> str:
    return (outcome.output or "") if isinstance(outcome, Completed) else outcome.error
