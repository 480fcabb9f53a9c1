"""How many tasks to claim: only what is expected to start at once (D-27).

A claimed task's clock runs and no other worker can have it, so nothing is hoarded. What can start within the
horizon of 100 ms follows from what is under way and how long such tasks have taken: a task of an unknown or slow
step keeps its child busy; the other children have the horizon, less the short tasks that already wait for them.
Short tasks are so claimed ahead, which saves a round trip for each, and a slow one is never claimed behind another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgflow_mp.executors.base import Outcome, TaskCall

HORIZON_SECONDS = 0.1
MOST_PER_CHILD = 64

# The weight of the newest duration: about the last ten tasks decide. A long one counts at once, for too little
# appetite costs a round trip and too much keeps a task from a neighbour.
_WEIGHT = 0.2


@dataclass(frozen=True, slots=True)
class Room:
    """What can start within the horizon.

    Attributes:
        children: Children that are not kept busy by a slow or unknown task.
        seconds: Of running time that these children have left within the horizon.
    """

    children: int
    seconds: float


class Appetite:
    """What is under way, how long such tasks usually take, and what that allows to claim."""

    def __init__(self) -> None:
        self._of_step: dict[tuple[str, str], float] = {}
        self._of_flow: dict[str, float] = {}
        self._under_way: dict[TaskCall, float] = {}

    def submitted(self, call: TaskCall) -> None:
        """Note a call that the executor has now. A step that never ran here makes its flow unknown until it has."""
        usual = self._of_step.get((call.flow.slug, call.step.slug), math.inf)
        if usual is math.inf:
            self._of_flow.pop(call.flow.slug, None)
        self._under_way[call] = usual

    def finished(self, outcome: Outcome) -> None:
        """Note how long a call took."""
        call = outcome.call
        self._under_way.pop(call, None)
        self._of_flow[call.flow.slug] = _average(self._of_flow.get(call.flow.slug), outcome.seconds)
        key = (call.flow.slug, call.step.slug)
        self._of_step[key] = _average(self._of_step.get(key), outcome.seconds)

    def taken_back(self, call: TaskCall) -> None:
        """Note a call that never started."""
        self._under_way.pop(call, None)

    def room(self, size: int) -> Room:
        """Return what an executor of so many children can start within the horizon."""
        short = [seconds for seconds in self._under_way.values() if seconds < HORIZON_SECONDS]
        children = max(size - (len(self._under_way) - len(short)), 0)
        return Room(children, max(children * HORIZON_SECONDS - sum(short), 0.0))

    def quantity(self, flow_slug: str, room: Room) -> int:
        """Return how many tasks of the flow may be claimed if it gets the whole room."""
        if room.seconds <= 0:
            return 0
        usual = self._of_flow.get(flow_slug, math.inf)
        if usual >= HORIZON_SECONDS:
            return room.children
        return min(math.ceil(room.seconds / max(usual, 1e-6)), MOST_PER_CHILD * room.children)


def _average(usual: float | None, seconds: float) -> float:
    if usual is None:
        return seconds
    return max(seconds, usual + _WEIGHT * (seconds - usual))
