"""What the engine benchmark runs in its children."""

from __future__ import annotations

import asyncio
import time

from pgflow_mp import Flow, map_step, step

SHORT_SECONDS = 0.002


class Noop(Flow):
    """A single-step job that does nothing."""

    @step
    def only(): ...


class Burn(Flow):
    """Each element burns CPU."""

    @map_step
    def burn(item):
        return burn(item)


class Many(Flow):
    """The flow with the long queue."""

    @map_step
    def work(item):
        time.sleep(SHORT_SECONDS)


class Few(Flow):
    """The flow beside it."""

    @map_step
    def work(item):
        time.sleep(SHORT_SECONDS)


class Saturated(Flow):
    """Two steps over the same array: one may run once at a time, the other is behind it in the queue."""

    @map_step(concurrency=1)
    def a_limited(item):
        time.sleep(SHORT_SECONDS)

    @map_step
    def behind(item):
        time.sleep(SHORT_SECONDS)


class Naps(Flow):
    """Async tasks that wait."""

    @map_step
    async def nap(item):
        await asyncio.sleep(item)


def burn(seconds: float) -> int:
    """Use the processor for so many seconds of its own time."""
    until = time.process_time() + seconds
    turns = 0
    while time.process_time() < until:
        turns += 1
    return turns
