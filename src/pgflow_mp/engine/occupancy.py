"""What occupies the children of one executor, and what of them is free within the horizon.

A short task is known to be done soon. A slow one keeps its child busy until it is expected to end, from what such
tasks have taken so far: for the last stretch of it the child counts as nearly free, so that the next task is claimed
while this one still runs, and the child does not wait for the database between two tasks. One that is overdue by more
than the horizon has proved the expectation wrong, and so has one of unknown length: their children are busy.

The executor starts calls in the order in which they were submitted, as soon as there are children for them. This is
followed here, for a call that waits has not begun to run out.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow_mp.executors.base import TaskCall

HORIZON_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Room:
    """What can start within the horizon.

    Attributes:
        children: Children that are not kept busy by a slow or unknown task.
        seconds: Of running time that these children have left within the horizon.
    """

    children: int
    seconds: float


@dataclass(slots=True)
class _Stay:
    usual: float
    weight: int
    began: float | None = None


class Occupancy:
    """The calls that are with one executor.

    Args:
        clock: Tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._size: float = math.inf  # until somebody says how many children there are
        self._clock = clock
        self._stays: dict[TaskCall, _Stay] = {}
        self._waiting: dict[TaskCall, _Stay] = {}
        self._running = 0

    def __len__(self) -> int:
        return len(self._stays)

    def enter(self, call: TaskCall, usual: float) -> None:
        """Note a call that the executor has now; such calls usually take so many seconds."""
        self._stays[call] = self._waiting[call] = _Stay(usual, call.step.processes or 1)
        self._begin()

    def leave(self, call: TaskCall) -> bool:
        """Note that the executor has the call no more; return whether it was known."""
        stay = self._stays.pop(call, None)
        if stay is None:
            return False
        if stay.began is None:
            del self._waiting[call]
        else:
            self._running -= stay.weight
        self._begin()
        return True

    def room(self, size: int) -> Room:
        """Return what an executor of so many children can start within the horizon."""
        self._size = size
        now = self._clock()
        busy, taken = 0, 0.0
        for stay in self._stays.values():
            weight = min(stay.weight, size)
            if stay.usual < HORIZON_SECONDS:
                taken += stay.usual * weight
            elif abs(left := self._left(stay, now)) < HORIZON_SECONDS:
                taken += max(left, 0.0) * weight
            else:
                busy += weight
        children = max(size - busy, 0)
        return Room(children, max(children * HORIZON_SECONDS - taken, 0.0))

    def until_room(self) -> float:
        """Return in how many seconds a child that a slow task keeps busy will count as nearly free."""
        now = self._clock()
        left = (self._left(stay, now) for stay in self._stays.values() if stay.usual >= HORIZON_SECONDS)
        return min((each - HORIZON_SECONDS for each in left if each > HORIZON_SECONDS), default=math.inf)

    def _left(self, stay: _Stay, now: float) -> float:
        return math.inf if stay.began is None else stay.began + stay.usual - now

    def _begin(self) -> None:
        while self._waiting:
            call, stay = next(iter(self._waiting.items()))
            if self._running and self._running + stay.weight > self._size:
                return
            stay.began = self._clock()
            self._running += stay.weight
            del self._waiting[call]
