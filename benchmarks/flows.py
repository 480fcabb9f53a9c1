"""What the engine benchmark runs in its children."""

from __future__ import annotations

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


def burn(seconds: float) -> int:
    """Use the processor for so many seconds of its own time."""
    until = time.process_time() + seconds
    turns = 0
    while time.process_time() < until:
        turns += 1
    return turns
