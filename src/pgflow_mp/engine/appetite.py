"""How many tasks to claim: only what is expected to start at once (D-27).

A claimed task's clock runs and no other worker can have it, so nothing is hoarded. A free child can start
one task now. Where the tasks of a flow have been short, more than one can start within the horizon of
100 ms, and claiming them together saves round trips. An unknown or slow flow gets its free children only.
"""

from __future__ import annotations

HORIZON_SECONDS = 0.1
MOST_PER_CHILD = 64

# The weight of the newest duration: about the last ten tasks decide.
_WEIGHT = 0.2


class Appetite:
    """Observed durations of each flow, and what they allow to claim."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._known_steps: set[tuple[str, str]] = set()

    def observe(self, flow_slug: str, step_slug: str, seconds: float) -> None:
        """Note how long a task of the flow ran, in seconds."""
        self._known_steps.add((flow_slug, step_slug))
        usual = self._seconds.get(flow_slug, seconds)
        # A long task counts at once, a short one slowly: too little appetite costs a round trip, too much a neighbour.
        self._seconds[flow_slug] = max(seconds, usual + _WEIGHT * (seconds - usual))

    def meet(self, flow_slug: str, step_slug: str) -> None:
        """Note a claimed task; a step that never ran here makes its flow unknown until it has."""
        if (flow_slug, step_slug) not in self._known_steps:
            self._seconds.pop(flow_slug, None)

    def quantity(self, flow_slug: str, *, size: int, free: int) -> int:
        """Return how many tasks of the flow may be claimed.

        Args:
            flow_slug: The flow.
            size: Children of the executor.
            free: Calls that would start at once; negative when calls already wait (`Executor.free`).
        """
        usual = self._seconds.get(flow_slug)
        if usual is None or usual >= HORIZON_SECONDS:
            return max(free, 0)
        ahead = min(int(HORIZON_SECONDS / max(usual, 1e-6)), MOST_PER_CHILD)
        return max(free + size * ahead, 0)
