"""The pool: calls in, outcomes out, over child processes that may die at any moment.

    STARTING -> IDLE <-> BUSY -> RETIRING -> GONE        BUSY -> EXPIRED -> GONE

A child has one call at a time, and calls for which there is no child wait here: handing a busy child more would
save 15 microseconds a task, and would cost fairness, and the certainty that the call of a dead child is the one
that was running.

A step past its deadline is killed with its process group and fails (`deadlines`); a child that dies fails its
call with the cause in words. Either is replaced at once, and the others notice nothing (`nursery`). A child that
has done `max_tasks_per_child` calls, or holds more than `max_memory_per_child`, ends after its call and loses
none.

A call whose step takes several processes runs in one child while as many others as it says stay idle. It waits
at the head of the queue until so many are idle, and those behind it wait too, or it would never get its turn.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Unpack

from pgflow_mp.executors.base import CANCELLED, Failed, Outcome, TaskCall
from pgflow_mp.executors.perform import storable
from pgflow_mp.executors.process import deaths
from pgflow_mp.executors.process.deadlines import Deadlines
from pgflow_mp.executors.process.desk import SERVED
from pgflow_mp.executors.process.household import Household
from pgflow_mp.executors.process.port import Port, State
from pgflow_mp.executors.process.wire import Frame, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow_mp.executors.process.handlers import Parcel
    from pgflow_mp.executors.process.household import ChildOptions

IDLE, BUSY = State.IDLE, State.BUSY  # an enum's members are slow to look up in Python 3.11

RESERVE_SECONDS = 20.0
"""How long a call that takes several processes may wait for them; a claim counts as stalled after 30 s more than
its timeout (core ST-4)."""


class ProcessPool(Household):
    """An `Executor` whose calls run in child processes, one at a time in each.

    Args:
        on_outcome: Called in the loop with each outcome.
        size: How many children; as many as this process may use cores by default.
        options: See `ChildOptions`.
    """

    def __init__(
        self, on_outcome: Callable[[Outcome], None], *, size: int | None = None, **options: Unpack[ChildOptions]
    ) -> None:
        super().__init__(on_outcome, children=usable_cores() if size is None else size, **options)
        self._idle: list[Port] = []
        self._kept_idle = 0  # children that running calls have for themselves besides their own

    # The executor ----------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many children there are to be."""
        return self._wanted

    @property
    def free(self) -> int:
        """Idle children that no call keeps for itself, less those that waiting calls take."""
        return len(self._idle) - self._kept_idle - sum(self._weight(call) for _, call in self._queue)

    async def start(self) -> None:
        """Start the children and wait until all are ready.

        Raises:
            PoolBroken: They cannot be started; the text has the reason that they gave.
        """
        self._deadlines = Deadlines(self._fail_expired)
        await super().start()

    def take_back(self, older_than: float) -> list[TaskCall]:
        """Give back, oldest first, the calls that have waited `older_than` seconds unstarted (D-27).

        One that takes several processes is worth a longer wait, `RESERVE_SECONDS`: it needs many to be idle at once.
        """
        if older_than <= 0 or all(call.step.processes is None for _, call in self._queue):
            return super().take_back(older_than)
        now = time.monotonic()
        waiting, self._queue = self._queue, type(self._queue)()
        taken = []
        for since, call in waiting:
            patience = max(older_than, RESERVE_SECONDS) if self._weight(call) > 1 else older_than
            if since <= now - patience:
                taken.append(call)
            else:
                self._queue.append((since, call))
        self._feed()
        return taken

    # Calls and children come together --------------------------------------------------------------------

    def _weight(self, call: TaskCall) -> int:
        return min(call.step.processes or 1, self._wanted)

    def _feed(self) -> None:
        while self._queue and self._idle:
            call = self._queue[0][1]
            if self._weight(call) > len(self._idle) - self._kept_idle:
                return
            self._queue.popleft()
            parcel = self._parcel(call)
            if parcel is not None:
                self._give(self._idle.pop(), call, parcel)

    def _give(self, child: Port, call: TaskCall, parcel: Parcel) -> None:
        child.state, child.call, child.number = BUSY, call, next(self._numbers)
        child.began = self._loop.time()
        child.output.begin()
        self._kept_idle += self._weight(call) - 1
        self._deadlines.watch(child, child.began + call.timeout)
        self._send(child, child.number, call, parcel)
        self._tell_started(call)

    def _calls_of(self, child: Port) -> list[tuple[TaskCall, float]]:
        return [] if child.call is None else [(child.call, child.began)]

    def _take_call(self, child: Port) -> TaskCall | None:
        """Take the call off the child: it has ended, one way or another."""
        call, child.call = child.call, None
        if call is not None:
            self._kept_idle -= self._weight(call) - 1
        return call

    # What a child says -----------------------------------------------------------------------------------

    def heard(self, child: Port, frame: Frame) -> None:
        """A frame arrived (called by the port)."""
        kind, number, payload = frame
        if kind in (Kind.DONE, Kind.FAIL):
            if child.state is BUSY and number == child.number:  # else the call has been failed already
                self._finish(child, kind, payload)
        elif kind in SERVED:
            if child.call is not None and number == child.number:
                call = child.call
                self._desk.serve(child, number, call, (kind, payload), still=lambda: child.call is call)
        elif kind == Kind.LOG:
            self._log(child.call if number == child.number else None, payload)
        elif kind == Kind.HELLO:
            self._greet(child, payload)
            self._rest(child)
            self._tell_room()
        elif kind == Kind.MISS and child.state is BUSY:
            self._answer_miss(child, payload.decode())

    def _finish(self, child: Port, kind: int, payload: bytes) -> None:
        call = child.call
        assert call is not None
        outcome = self._read_answer(child, call, kind, payload)
        self._release(child)
        self._tell(outcome)

    def _answer_miss(self, child: Port, why: str) -> None:
        call = child.call
        assert call is not None
        failure = self._send_by_value(child, child.number, call, why)
        if failure is not None:
            self._release(child)
            self._tell(failure)

    def _release(self, child: Port) -> None:
        """The child's call has ended: it gets the next one, or a rest, or retires."""
        child.output.end(child.call)
        self._take_call(child)
        self._rest(child)

    def _rest(self, child: Port) -> None:
        if child.stale or self._closing:
            self._retire(child)
        else:
            child.state = IDLE
            self._idle.append(child)
            self._feed()
        self._changed.set()

    def _fail_expired(self, child: Port) -> None:
        """The child was killed, or has died, past its deadline."""
        call = child.call
        if call is None:  # told already
            return
        self._mourn(child, -signal.SIGKILL, "killed: its task was past its time", [call])
        child.output.end(call)
        self._take_call(child)
        self._replace()
        error = storable(deaths.timed_out(call.timeout, child.trace()))
        self._tell(Failed(call, error, "timeout", seconds=self._loop.time() - child.began))

    def _cancel_running(self, child: Port, call: TaskCall) -> None:
        """Kill the child, as at a deadline; one that is being killed for that reason already tells by itself."""
        if child.state is not BUSY:
            return
        child.state = State.EXPIRED
        child.kill()
        self._mourn(child, -signal.SIGKILL, "killed: its task was cancelled", [call], logging.INFO)
        child.output.end(call)
        self._take_call(child)
        self._replace()
        seconds = self._loop.time() - child.began
        self._loop.call_soon(self._tell, Failed(call, CANCELLED, "cancelled", retryable=False, seconds=seconds))

    # Children go -----------------------------------------------------------------------------------------

    def _retire_idle(self) -> None:
        for child in self._idle.copy():
            self._idle.remove(child)
            self._retire(child)

    def _drop_calls(self, child: Port) -> list[TaskCall]:
        call = self._take_call(child)
        return [] if call is None else [call]

    def lost(self, child: Port, code: int | None) -> None:
        """The child has ended, and all that it sent has been heard (called by the port)."""
        state = child.state
        error = storable(deaths.died(code, child.trace(), child.output.tail))
        if state in (IDLE, BUSY):
            self._mourn(child, code, error, [] if child.call is None else [child.call])
        if state is State.EXPIRED:
            self._fail_expired(child)
        call = self._take_call(child)
        self._home.bury(child)
        if state is State.STARTING:
            self._home.failed(error, began=child.began, explained=code is not None)
        elif state is IDLE:
            self._idle.remove(child)
            self._replace(pause=not child.tasks)
        elif state is BUSY:
            self._replace()
            if call is not None:
                self._tell(Failed(call, error, "lost", seconds=self._loop.time() - child.began))
        self._changed.set()


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
