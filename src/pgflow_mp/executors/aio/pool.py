"""The pool of event loops: many calls at a time in few children, and no call that another one can hold up for long.

A child ends its tasks at their deadlines by itself (`aio.child`). If it has not said so a second later, its loop is
blocked: some coroutine computes, or calls something that blocks, instead of awaiting. The parent looks at it twice;
where the loop has not moved in between, the child is killed, and the task whose code it was stuck in fails, with the
line: as timed out where its own time was up, else as the one that blocked the others.

Its neighbours did nothing wrong. They begin again in another child under the same claim, with their whole time and
no attempt spent. So do the tasks of a child that dies, but for the one whose code was running. A call that has been
claimed too long ago to begin again goes back to its queue (`take_back`), and one whose children keep dying while
nobody's code runs (a memory bomb is not seen by its neighbours) fails after `MAX_DEATHS` of them.
"""

from __future__ import annotations

import logging
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

from pgflow_mp.executors.aio.watched import CANCEL_PATIENCE
from pgflow_mp.executors.base import Failed, Outcome, TaskCall
from pgflow_mp.executors.perform import storable
from pgflow_mp.executors.process import deaths
from pgflow_mp.executors.process.deadlines import Deadlines
from pgflow_mp.executors.process.desk import SERVED
from pgflow_mp.executors.process.household import Household
from pgflow_mp.executors.process.output import place_of
from pgflow_mp.executors.process.port import Port, State
from pgflow_mp.executors.process.wire import Frame, Kind, pack

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from pgflow_mp.executors.process.handlers import Parcel
    from pgflow_mp.executors.process.household import ChildOptions

logger = logging.getLogger("pgflow_mp.pool")

TASKS_PER_LOOP = 100
"""Tasks that one event loop runs at a time, by default."""
MAX_DEATHS = 3
"""Children that may die under a call before it fails, where nobody knows whose fault it was."""
REDO_SECONDS = 20.0
"""A call claimed longer ago is not begun again: a claim counts as stalled 30 s after its timeout (core ST-4)."""

_FIRST_LOOK = CANCEL_PATIENCE + 0.5  # seconds after its deadline that a task should have been reported
_LOOK_AGAIN = 0.25
_LAST_LOOK = 5.0  # a loop that moves, but so slowly, is ended all the same


@dataclass(slots=True)
class _Running:
    """A call that a child has.

    Attributes:
        call: The call.
        began: Loop time at which the child got it.
        timer: Looks whether its loop is blocked.
        seen: How often the loop had switched when it was looked at; None before.
    """

    call: TaskCall
    began: float
    timer: asyncio.TimerHandle
    seen: int | None = None


@dataclass(slots=True)
class _Past:
    """What has become of a call before: when it first began, and how many children have died under it."""

    began: float
    deaths: int = 0


class LoopPool(Household):
    """An `Executor` whose calls run in event loops, each in a child process.

    Args:
        on_outcome: Called in the loop with each outcome.
        loops: How many children.
        tasks_per_loop: How many calls each runs at a time.
        options: See `ChildOptions`.
    """

    child_module = "pgflow_mp.executors.aio.child"
    kind = "async"

    def __init__(
        self,
        on_outcome: Callable[[Outcome], None],
        *,
        loops: int = 1,
        tasks_per_loop: int = TASKS_PER_LOOP,
        **options: Unpack[ChildOptions],
    ) -> None:
        super().__init__(on_outcome, children=loops, **options)
        if tasks_per_loop < 1:
            raise ValueError(f"an event loop needs room for at least one task, not {tasks_per_loop}")
        self._per_loop = tasks_per_loop
        self._loads: dict[Port, dict[int, _Running]] = {}  # of the children that are up
        self._blamed: dict[Port, int] = {}  # of the children that are being killed
        self._past: dict[TaskCall, _Past] = {}  # of calls that have begun more than once
        self._too_old: list[TaskCall] = []

    # The executor ----------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many calls can run at once."""
        return self._wanted * self._per_loop

    @property
    def free(self) -> int:
        """Room in the loops that take calls, less those that wait."""
        room = sum(self._per_loop - len(load) for child, load in self._loads.items() if _is_open(child))
        return room - len(self._queue)

    async def start(self) -> None:
        """Start the children and wait until all are ready.

        Raises:
            PoolBroken: They cannot be started; the text has the reason that they gave.
        """
        self._deadlines = Deadlines(self._end_blocked)
        await super().start()

    def take_back(self, older_than: float) -> list[TaskCall]:
        """Give back the calls that have waited `older_than` seconds, and those too old to begin again (D-4, D-27)."""
        taken, self._too_old = self._too_old + super().take_back(older_than), []
        for call in taken:
            self._past.pop(call, None)
        return taken

    # Calls and children come together --------------------------------------------------------------------

    def _feed(self) -> None:
        while self._queue:
            child = min((child for child in self._loads if self._has_room(child)), key=self._load_of, default=None)
            if child is None:
                return
            call = self._queue.popleft()[1]
            parcel = self._parcel(call)
            if parcel is not None:
                self._give(child, call, parcel)

    def _has_room(self, child: Port) -> bool:
        return _is_open(child) and len(self._loads[child]) < self._per_loop

    def _load_of(self, child: Port) -> int:
        return len(self._loads[child])

    def _calls(self, child: Port, blamed: int) -> list[TaskCall]:
        """Return the calls of a child that is lost, the one to blame first."""
        load = self._loads.get(child, {})
        return [load[number].call for number in sorted(load, key=lambda number: number != blamed)]

    def _give(self, child: Port, call: TaskCall, parcel: Parcel) -> None:
        number = next(self._numbers)
        timer = self._loop.call_later(call.timeout + _FIRST_LOOK, self._look, child, number)
        self._loads[child][number] = _Running(call, self._loop.time(), timer)
        child.state = State.BUSY
        child.output.begin()  # what comes through this pipe is nobody's; its limit is renewed with each call
        self._send(child, number, call, parcel)
        self._tell_started(call)

    def _calls_of(self, child: Port) -> list[tuple[TaskCall, float]]:
        return [(running.call, running.began) for running in self._loads.get(child, {}).values()]

    # What a child says -----------------------------------------------------------------------------------

    def heard(self, child: Port, frame: Frame) -> None:
        """A frame arrived (called by the port)."""
        kind, number, payload = frame
        if kind == Kind.HELLO:
            self._greet(child, payload)
            self._open(child)
            return
        running = self._loads.get(child, {}).get(number)
        call = None if running is None else running.call
        if kind == Kind.LOG:
            self._log(call, payload)
        elif kind == Kind.PRINT:
            self._print(call, payload.decode())
        elif running is None:
            return  # it has been told already
        elif kind in SERVED:
            still = lambda: self._loads.get(child, {}).get(number) is running  # noqa: E731
            self._desk.serve(child, number, running.call, (kind, payload), still)
        elif kind in (Kind.DONE, Kind.FAIL):
            self._finish(child, number, self._read_answer(child, running.call, kind, payload))
        elif kind == Kind.MISS:
            failure = self._send_by_value(child, number, running.call, payload.decode())
            if failure is not None:
                self._finish(child, number, failure)
        elif kind == Kind.STUCK:
            logger.warning(
                "%s of run %s ignores its cancellation; its child process is replaced",
                place_of(running.call),
                running.call.run_id,
            )
            child.stale = True

    def _open(self, child: Port) -> None:
        self._loads[child] = {}
        child.state = State.IDLE
        if child.stale or self._closing:
            self._drain(child)
        else:
            self._feed()
        self._changed.set()
        self._tell_room()

    def _print(self, call: TaskCall | None, text: str) -> None:
        try:
            self._sink(call, text)
        except Exception:  # its error must not keep a task's outcome back
            logger.exception("on_output failed")

    def _finish(self, child: Port, number: int, outcome: Outcome) -> None:
        running = self._loads[child].pop(number)
        running.timer.cancel()
        self._past.pop(running.call, None)
        if not self._loads[child] and child.state is State.BUSY:
            child.state = State.IDLE
        if (child.stale or self._closing) and child.state is not State.EXPIRED:
            self._drain(child)
        self._feed()
        self._changed.set()
        self._tell(outcome)

    def _cancel_running(self, child: Port, call: TaskCall) -> None:
        """Have the child cancel it, which is over in `CANCEL_PATIENCE` unless its loop is blocked."""
        for number, running in self._loads.get(child, {}).items():
            if running.call is call:
                child.send(pack(Kind.CANCEL, number))
                running.timer.cancel()
                running.timer = self._loop.call_later(_FIRST_LOOK, self._look, child, number)
                return

    # A loop that is blocked ------------------------------------------------------------------------------

    def _look(self, child: Port, number: int) -> None:
        """A task should have ended by now: is its loop alive?"""
        running = self._loads.get(child, {}).get(number)
        if running is None or child.state is State.EXPIRED:
            return
        progress = child.progress()
        latest = running.began + running.call.timeout + _FIRST_LOOK + _LAST_LOOK
        if running.seen != progress.switches and self._loop.time() < latest:
            running.seen = progress.switches
            running.timer = self._loop.call_later(_LOOK_AGAIN, self._look, child, number)
            return
        self._blamed[child] = progress.number if progress.number in self._loads[child] else number
        is_draining = child.state is State.RETIRING
        self._deadlines.end(child)
        if not is_draining:  # else there is one already
            self._replace()

    def _end_blocked(self, child: Port) -> None:
        """The child was killed, or has died, because its loop was blocked."""
        if child in self._loads:
            calls = self._calls(child, self._blamed.get(child, 0))
            self._mourn(child, -signal.SIGKILL, "killed: its event loop was blocked", calls)
        load = self._loads.pop(child, {})
        culprit = load.pop(self._blamed.pop(child, 0), None)
        self._begin_again(load.values())
        if culprit is not None:
            culprit.timer.cancel()
            self._past.pop(culprit.call, None)
            self._tell(self._blame(child, culprit))

    def _blame(self, child: Port, culprit: _Running) -> Failed:
        seconds = self._loop.time() - culprit.began
        if seconds >= culprit.call.timeout:
            error = deaths.timed_out(culprit.call.timeout, child.trace())
        else:
            error = deaths.blocked(seconds, child.trace())
        return Failed(culprit.call, storable(error), "timeout", seconds=seconds)

    def _begin_again(self, interrupted: Iterable[_Running], *, died: bool = False) -> None:
        """Let calls whose child has gone begin again elsewhere, before those that have not begun."""
        now = self._loop.time()
        for running in reversed(list(interrupted)):
            running.timer.cancel()
            call = running.call
            past = self._past.setdefault(call, _Past(running.began))
            past.deaths += died
            if past.deaths >= MAX_DEATHS:
                del self._past[call]
                error = f"Worker process died: {MAX_DEATHS} times in a row while it ran this task among others"
                self._loop.call_soon(self._tell, Failed(call, error, "lost", seconds=now - running.began))
            elif now - past.began > REDO_SECONDS:
                self._too_old.append(call)
            else:
                self._queue.appendleft((time.monotonic(), call))
        self._feed()

    # Children go -----------------------------------------------------------------------------------------

    def _drain(self, child: Port) -> None:
        """Give the child no more calls, have another one in its place, and end it when it has none left."""
        if child.state is not State.RETIRING:
            child.state = State.RETIRING
            self._replace()
        if not self._loads[child]:
            self._dismiss(child)

    def _retire_idle(self) -> None:
        for child in list(self._loads):
            if child.state is not State.EXPIRED:
                self._drain(child)

    def _drop_calls(self, child: Port) -> list[TaskCall]:
        load = self._loads.pop(child, {})
        for running in load.values():
            running.timer.cancel()
        return [running.call for running in load.values()]

    def lost(self, child: Port, code: int | None) -> None:
        """The child has ended, and all that it sent has been heard (called by the port)."""
        state, number = child.state, child.progress().number
        error = storable(deaths.died(code, child.trace(), child.output.tail))
        if state in (State.IDLE, State.BUSY) or (state is State.RETIRING and self._loads.get(child)):
            self._mourn(child, code, error, self._calls(child, number))
        if state is State.EXPIRED:
            self._end_blocked(child)
        load = self._loads.pop(child, {})
        self._home.bury(child)
        if state is State.STARTING:
            self._home.failed(error, began=child.began, explained=code is not None)
        elif state is State.IDLE:
            self._replace(pause=not child.tasks)
        elif state is State.BUSY:
            self._replace()
        culprit = load.pop(number, None)
        self._begin_again(load.values(), died=culprit is None)
        if culprit is not None:
            culprit.timer.cancel()
            self._past.pop(culprit.call, None)
            self._tell(Failed(culprit.call, error, "lost", seconds=self._loop.time() - culprit.began))
        self._changed.set()


def _is_open(child: Port) -> bool:
    """Whether the child takes calls."""
    return child.state in (State.IDLE, State.BUSY) and not child.stale
