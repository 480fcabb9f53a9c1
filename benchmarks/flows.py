"""What the engine benchmark runs in its children."""

from __future__ import annotations

import asyncio
import time

from pgflow_mp import Flow, map_step, step


class Noop(Flow):
    """A single-step job that does nothing."""

    @step
    def only(): ...


class Burn(Flow):
    """Each element burns CPU."""

    @map_step
    def burn(item):
        return burn(item)


class Echo(Flow):
    """Returns what it gets."""

    @step
    def echo(flow_input):
        return flow_input


class Sleepers(Flow):
    """Each element sleeps in an event loop that all share."""

    @map_step
    async def sleep(item):
        await asyncio.sleep(item)


def burn(seconds: float) -> int:
    """Use the processor for so many seconds of its own time."""
    until = time.process_time() + seconds
    turns = 0
    while time.process_time() < until:
        turns += 1
    return turns
