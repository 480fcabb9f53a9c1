"""What an executor is doing at one moment: its children (or threads) and the calls that they have.

For people to see; nothing decides by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgflow_mp.executors.base import TaskCall


@dataclass(frozen=True, slots=True)
class RunningCall:
    """A call under way.

    Attributes:
        call: The call.
        seconds: How long it has been running.
    """

    call: TaskCall
    seconds: float


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """A child process, or the threads of this one.

    Attributes:
        pid: The process; None while it has not reported for duty.
        state: `starting`, `idle`, `busy`, `retiring`, `expired` (it is being killed) or `gone`.
        calls: What it runs, in no order.
        finished: How many calls it has done.
    """

    pid: int | None
    state: str
    calls: tuple[RunningCall, ...]
    finished: int


@dataclass(frozen=True, slots=True)
class ExecutorStatus:
    """One executor.

    Attributes:
        size: How many calls can run at once.
        waiting: Calls that wait for a child.
        children: Its children, by process id.
    """

    size: int
    waiting: int
    children: tuple[ChildStatus, ...]

    @property
    def running(self) -> int:
        """How many calls are under way."""
        return sum(len(child.calls) for child in self.children)
