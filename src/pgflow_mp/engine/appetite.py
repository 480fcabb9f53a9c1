"""How many tasks to claim: only what is expected to start at once (D-27).

A claimed task's clock runs and no other worker can have it, so nothing is hoarded. What can start within the
horizon of 100 ms follows from what is under way and how long such tasks have taken (`engine.occupancy`). A task of an
unknown or slow step keeps its child busy until shortly before its expected end; the other children have the horizon,
less the short tasks that already wait for them. Short tasks are so claimed ahead, which saves a round trip for each,
and the task after a slow one when it is about to end, which saves the child the wait for it.

Each executor has a room of its own. A task may take several children (`processes=`); one such task is claimed as
soon as one child is free, and keeps the next ones from others until it has its number: waiting for all of them to
be free by chance, it would wait for ever. An event loop has so many places that nothing is claimed ahead for it.
A step's own limit (`concurrency=`) is what it may have at most, whatever room there is.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgflow_mp.engine.occupancy import HORIZON_SECONDS, Occupancy, Room
from pgflow_mp.engine.sources import key_of, step_key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow_mp.engine.sources import Source
    from pgflow_mp.executors.base import Outcome, TaskCall

MOST_PER_CHILD = 64

# The weight of the newest duration: about the last ten tasks decide. A long one counts at once, for too little
# appetite costs a round trip and too much keeps a task from a neighbour.
_WEIGHT = 0.2


@dataclass(frozen=True, slots=True)
class Wish:
    """What may be claimed from a source.

    Attributes:
        quantity: Tasks, if the source gets the whole room of its executor.
        most: Tasks, whatever room there is; None where only the room counts.
    """

    quantity: int
    most: int | None = None

    def __bool__(self) -> bool:
        return self.quantity > 0 and (self.most is None or self.most > 0)

    @property
    def all(self) -> int:
        """Tasks that would fulfil it."""
        return self.quantity if self.most is None else min(self.quantity, self.most)


class Appetite:
    """What is under way, how long such tasks usually take, and what that allows to claim.

    Args:
        clock: Tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._of_step: dict[tuple[str, str], float] = {}
        self._of_source: dict[tuple[str, str, str], float] = {}
        self._under_way: defaultdict[str, Occupancy] = defaultdict(lambda: Occupancy(clock))  # by executor
        self._of_each: Counter[tuple[str, str]] = Counter()  # tasks under way by flow and step

    def submitted(self, call: TaskCall) -> None:
        """Note a call that the executor has now. A step that never ran here makes its source unknown until it has."""
        usual = self._of_step.get(step_key_of(call), math.inf)
        if usual is math.inf:
            self._of_source.pop(key_of(call), None)
        self._under_way[call.step.runs_in].enter(call, usual)
        self._of_each[call.flow.slug, call.step.slug] += 1

    def finished(self, outcome: Outcome) -> None:
        """Note how long a call took."""
        call = outcome.call
        self.taken_back(call)
        source, step = key_of(call), step_key_of(call)
        self._of_source[source] = _average(self._of_source.get(source), outcome.seconds)
        self._of_step[step] = _average(self._of_step.get(step), outcome.seconds)

    def taken_back(self, call: TaskCall) -> None:
        """Note a call that is under way no more."""
        if self._under_way[call.step.runs_in].leave(call):
            self._of_each[call.flow.slug, call.step.slug] -= 1

    def wish(self, source: Source, size: int) -> Wish:
        """Return what may be claimed from a source whose executor runs `size` calls at once."""
        most = None
        if source.limit is not None:
            most = max(source.limit - self._of_each[source.flow_slug, source.alone], 0)
        return Wish(self._quantity(source, self.room(source.executor, size), size), most)

    def room(self, executor: str, size: int) -> Room:
        """Return what an executor of so many children, or places, can start within the horizon."""
        under_way = self._under_way[executor]
        if executor == "async":
            return Room(max(size - len(under_way), 0), 0.0)
        return under_way.room(size)

    def until_room(self) -> float:
        """Return the seconds until there will be room by a slow task's coming to its end; infinite where none is."""
        return min((each.until_room() for each in self._under_way.values()), default=math.inf)

    def _quantity(self, source: Source, room: Room, size: int) -> int:
        if source.executor == "async":
            return room.children
        if room.seconds <= 0:
            return 0
        weight = min(source.weight, size)
        usual = self._of_source.get(source.key, math.inf)
        if usual >= HORIZON_SECONDS:
            return max(room.children // weight, 1)
        return min(math.ceil(room.seconds / (max(usual, 1e-6) * weight)), MOST_PER_CHILD * room.children)


def _average(usual: float | None, seconds: float) -> float:
    if usual is None:
        return seconds
    return max(seconds, usual + _WEIGHT * (seconds - usual))
