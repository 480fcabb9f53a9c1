"""Taking times and printing them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def best_rate(rounds: int, units: int, work: Callable[[], object]) -> float:
    """Return the best of `rounds` rates, in units per second. The best is the least disturbed."""
    return max(units / seconds(work) for _ in range(rounds))


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes, in seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def row(what: str, rate: float, yardstick: float, aim: str = "") -> None:
    """Print one line: what, tasks a second, the ratio to the yardstick, and what is aimed at."""
    print(f"{what:<44} {rate:>10,.0f}/s   {rate / yardstick:>6.3f} of the yardstick   {aim}", flush=True)
