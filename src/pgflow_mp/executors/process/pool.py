"""The pool: calls in, outcomes out, over child processes that may die at any moment.

    STARTING -> IDLE <-> BUSY -> RETIRING -> GONE        BUSY -> EXPIRED -> GONE

One asyncio loop does all of it (D-26); it reads and writes the pipes without blocking and starts no thread. Only
the loop touches the pool, so there are no locks. A child has one call at a time, and calls for which there is no
child wait here: handing a busy child more would save 15 microseconds a task, and would cost fairness, and the
certainty that the call of a dead child is the one that was running.

A step past its deadline says where it is (faulthandler), is killed with its process group, and fails; a child
that dies fails its call with the cause in words. Either is replaced at once, and the others notice nothing. A
child that has done `max_tasks_per_child` calls, or holds more than `max_memory_per_child`, ends after its call
and loses none. Children that die before their first word, three in a row, break the pool: the reason is then in
the environment and would only repeat itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from pgflow_mp.errors import PgflowError
from pgflow_mp.executors.base import Completed, Failed, Outcome, TaskCall
from pgflow_mp.executors.perform import storable
from pgflow_mp.executors.process import deaths, logs, wire
from pgflow_mp.executors.process.handlers import HandlerError, Packer, Parcel, load_payload
from pgflow_mp.executors.process.output import to_stderr
from pgflow_mp.executors.process.port import Port, State
from pgflow_mp.executors.process.wire import Frame, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pgflow_mp.executors.process.output import OutputSink

logger = logging.getLogger("pgflow_mp.pool")

IDLE, BUSY = State.IDLE, State.BUSY  # an enum's members are slow to look up in Python 3.11
_MEGABYTE = 1024 * 1024
_DUMP_TIME = 0.5  # seconds that an expired step has at most to say where it is; it takes some milliseconds
_DUMP_POLL = 0.01
_RETIRE_TIME = 5.0  # seconds that a retired child has to end (its exit handlers run)
_MAX_FAILED_STARTS = 3
_RESPAWN_PAUSE = 0.5  # seconds before a child is replaced that died young, without a call


class PoolBroken(PgflowError):  # noqa: N818 - named for the fact, like those of `errors`
    """The pool cannot start its child processes."""


class ProcessPool:
    """An `Executor` whose calls run in child processes.

    Args:
        on_outcome: Called in the loop with each outcome.
        size: How many children; as many as this process may use cores by default.
        method: "forkserver" or "spawn"; by default the first where there is one and it is safe (not macOS).
        preload: Modules that the fork server imports once, before it forks (the flows'). They must not start
            threads or open connections when imported. What cannot be imported is logged, and left to the children.
        max_tasks_per_child: A child is replaced after so many calls.
        max_memory_per_child: A child is replaced when it holds more than so many MB after a call.
        start_timeout: Seconds until a child that has not said a word counts as dead.
        on_room: Called in the loop when `free` has grown without an outcome.
        on_broken: Called in the loop with the reason when no child can be started any more.
        on_output: Called in the loop with what children print (the call that printed it if any, and whole lines);
            by default it goes to stderr, with the step in front.
    """

    def __init__(
        self,
        on_outcome: Callable[[Outcome], None],
        *,
        size: int | None = None,
        method: str | None = None,
        preload: Iterable[str] = (),
        max_tasks_per_child: int | None = None,
        max_memory_per_child: float | None = None,
        start_timeout: float = 30.0,
        on_room: Callable[[], None] | None = None,
        on_broken: Callable[[PoolBroken], None] | None = None,
        on_output: OutputSink = to_stderr,
    ) -> None:
        self.on_outcome = on_outcome
        self.on_room = on_room
        self.on_broken = on_broken
        self.broken: PoolBroken | None = None
        self._size = usable_cores() if size is None else size
        if self._size < 1:
            raise ValueError(f"a pool needs at least one process, not {self._size}")
        self._method = method or ("spawn" if sys.platform == "darwin" else "forkserver")
        self._preload = tuple(dict.fromkeys(preload))
        self._max_tasks = max_tasks_per_child
        self._max_memory = None if max_memory_per_child is None else max_memory_per_child * _MEGABYTE
        self._start_timeout = start_timeout
        self._sink = on_output
        self._packer = Packer()
        self._numbers = itertools.count(1)
        self._queue: deque[tuple[float, TaskCall]] = deque()
        self._idle: list[Port] = []
        self._children: set[Port] = set()
        self._unfinished: list[TaskCall] = []
        self._failed_starts = 0
        self._closing = False
        self._changed = asyncio.Event()  # something that `start` or `close` waits for may have happened
        self._preload_failures: dict[str, str] = {}

    # The executor ----------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many children there are to be."""
        return self._size

    @property
    def free(self) -> int:
        """Idle children less waiting calls."""
        return len(self._idle) - len(self._queue)

    @property
    def running(self) -> int:
        """How many calls are with a child."""
        return sum(child.call is not None for child in self._children)

    @property
    def pids(self) -> list[int]:
        """The process ids of the children that have reported for duty."""
        return [child.pid for child in self._children if child.pid is not None]

    async def start(self) -> None:
        """Start the children and wait until all are ready.

        Raises:
            PoolBroken: They cannot be started; the text has the reason that they gave.
        """
        self._loop = asyncio.get_running_loop()
        self._setup = wire.pack(Kind.SETUP, 0, self._settings())
        for _ in range(self._size):
            self._spawn()
        try:
            await self._until(lambda: self.broken is not None or len(self._idle) == self._size)
        except BaseException:
            self._abandon()
            raise
        if self.broken is not None:
            await self.close(0)
            raise self.broken

    def submit(self, call: TaskCall) -> None:
        """Hand the call to an idle child, or keep it until there is one.

        Raises:
            PoolBroken: The pool is broken; the call was not taken.
        """
        if self.broken is not None:
            raise self.broken
        if self._closing:
            raise PgflowError("the pool is closing and takes no more calls")
        self._queue.append((time.monotonic(), call))
        self._feed()

    def take_back(self, older_than: float) -> list[TaskCall]:
        """Give back, oldest first, the calls that have waited `older_than` seconds unstarted (D-27)."""
        before = time.monotonic() - older_than
        taken = []
        while self._queue and self._queue[0][0] <= before:
            taken.append(self._queue.popleft()[1])
        return taken

    def reload(self) -> None:
        """Replace all children by fresh ones that import the code as it is now; no call is lost."""
        if self._method == "forkserver":
            from pgflow_mp.executors.process import launch

            launch.renew(self._preload)
        self._packer = Packer()
        for child in self._children:
            child.stale = True
        for child in self._idle.copy():
            self._idle.remove(child)
            self._retire(child)

    async def close(self, grace: float) -> list[TaskCall]:
        """Let running calls finish for up to `grace` seconds, end all children, return what did not finish.

        Calling it again (after a cancelled first time, or with less patience) is fine.
        """
        self._closing = True
        self._unfinished += self.take_back(0)
        for child in self._idle.copy():
            self._idle.remove(child)
            self._retire(child)
        await self._until(lambda: self.running == 0, grace)
        self._unfinished += [child.call for child in self._children if child.call is not None]
        for child in self._children:
            child.call = None
            if child.state is not State.RETIRING:
                child.kill()
        await self._until(lambda: not self._children, _RETIRE_TIME)
        self._abandon()
        unfinished, self._unfinished = self._unfinished, []
        return unfinished

    # Calls and children come together --------------------------------------------------------------------

    def _feed(self) -> None:
        while self._queue and self._idle:
            call = self._queue.popleft()[1]
            try:
                parcel = self._packer.pack(call.flow, call.step)
            except HandlerError as error:
                self._loop.call_soon(self._tell, Failed(call, str(error), "raised", retryable=False))
                continue
            self._give(self._idle.pop(), call, parcel)

    def _give(self, child: Port, call: TaskCall, parcel: Parcel) -> None:
        child.state, child.call, child.number = BUSY, call, next(self._numbers)
        child.began = self._loop.time()
        child.output.begin()
        self._watch(child, child.began + call.timeout)
        self._send(child, parcel)

    def _send(self, child: Port, parcel: Parcel) -> None:
        call = child.call
        assert call is not None
        flow_input = call.flow_input or b""
        run = wire.Run(
            parcel.head, call.run_id.bytes, call.task_index, call.attempt, call.timeout, call.input, flow_input
        )
        frames = wire.pack(Kind.RUN, child.number, run.pack())
        if parcel.blob is not None and parcel.key not in child.loaded:
            child.loaded.add(parcel.key)
            frames = wire.pack(Kind.LOAD, 0, load_payload(parcel)) + frames
        child.send(frames)

    def _tell(self, outcome: Outcome) -> None:
        try:
            self.on_outcome(outcome)
        except Exception:
            logger.exception("on_outcome failed for step `%s`", outcome.call.step.slug)

    # What a child says -----------------------------------------------------------------------------------

    def heard(self, child: Port, frame: Frame) -> None:
        """A frame arrived (called by the port)."""
        kind, number, payload = frame
        if kind in (Kind.DONE, Kind.FAIL):
            if child.state is BUSY and number == child.number:  # else the call has been failed already
                self._finish(child, kind, payload)
        elif kind == Kind.LOG:
            logs.handle(payload, child.call if number == child.number else None)
        elif kind == Kind.HELLO:
            self._greet(child, json.loads(payload))
        elif kind == Kind.MISS and child.state is BUSY:
            self._send_by_value(child, payload.decode())

    def _greet(self, child: Port, hello: dict[str, Any]) -> None:
        child.pid = hello["pid"]
        child.stop_timer()
        self._failed_starts = 0
        for module, reason in hello["preload_failures"].items():
            if self._preload_failures.get(module) != reason:
                self._preload_failures[module] = reason
                logger.warning("cannot preload %s: %s", module, reason)
        self._rest(child)
        if self.on_room is not None and not self._closing:
            self.on_room()

    def _finish(self, child: Port, kind: int, payload: bytes) -> None:
        call = child.call
        assert call is not None
        (seconds, memory, flag), body = wire.Report.unpack(payload)
        outcome: Outcome
        if kind == Kind.DONE:
            outcome = Completed(call, None if flag else body.decode(), seconds)
        else:
            error, reason = json.loads(body)
            outcome = Failed(call, error, reason, flag, seconds)
        child.tasks += 1
        child.stale = child.stale or self._is_spent(child, memory)
        self._release(child)
        self._tell(outcome)

    def _send_by_value(self, child: Port, why: str) -> None:
        call = child.call
        assert call is not None
        try:
            self._send(child, self._packer.pack_by_value(call.flow, call.step))
        except HandlerError as error:
            self._release(child)
            self._tell(Failed(call, f"{error} ({why})", "raised", retryable=False))

    def _is_spent(self, child: Port, memory: int) -> bool:
        by_tasks = self._max_tasks is not None and child.tasks >= self._max_tasks
        by_memory = self._max_memory is not None and memory > self._max_memory
        return by_tasks or by_memory

    def _release(self, child: Port) -> None:
        """The child's call has ended: it gets the next one, or a rest, or retires."""
        child.output.end(child.call)
        child.call = None
        self._rest(child)

    def _rest(self, child: Port) -> None:
        if child.stale or self._closing:
            self._retire(child)
        else:
            child.state = IDLE
            self._idle.append(child)
            self._feed()
        self._changed.set()

    # Deadlines -------------------------------------------------------------------------------------------

    def _watch(self, child: Port, deadline: float) -> None:
        """Have the deadline kept.

        The timer of an earlier call will do, if it fires before: most calls end in time, and a timer made and
        cancelled for each of them would be a good part of what a call costs here.
        """
        child.deadline = deadline
        if child.timer is None or child.timer.when() > deadline:
            child.set_timer(deadline - self._loop.time(), self._check_deadline)

    def _check_deadline(self, child: Port) -> None:
        child.timer = None
        if child.state is not BUSY:
            return
        if self._loop.time() < child.deadline:
            self._watch(child, child.deadline)
        else:
            child.state = State.EXPIRED
            child.ask_where()
            self._await_dump(child, self._loop.time() + _DUMP_TIME, child.trace())

    def _await_dump(self, child: Port, until: float, seen: str) -> None:
        """Kill it as soon as it has said where it is: when its trace has not grown since the last look."""
        trace = child.trace()
        if (trace and trace == seen) or self._loop.time() > until:
            child.kill()
            self._fail_expired(child)
        else:
            child.set_timer(_DUMP_POLL, lambda child: self._await_dump(child, until, trace))

    def _fail_expired(self, child: Port) -> None:
        call = child.call
        if call is None:
            return
        child.output.end(call)
        child.call = None
        self._replace()
        error = storable(deaths.timed_out(call.timeout, child.trace()))
        self._tell(Failed(call, error, "timeout", seconds=self._loop.time() - child.began))

    # Children come and go --------------------------------------------------------------------------------

    def _spawn(self) -> None:
        if self._closing or self.broken is not None:
            return
        child = Port(self._loop, self, self._sink)
        try:
            child.start(self._method, self._preload)
        except OSError as error:
            self._note_failed_start(f"{type(error).__name__}: {error}", pause=_RESPAWN_PAUSE)
            return
        self._children.add(child)
        child.set_timer(self._start_timeout, self._give_up_start)
        child.send(self._setup)

    def _replace(self, pause: float = 0.0) -> None:
        self._changed.set()
        if pause:
            self._loop.call_later(pause, self._spawn)
        else:
            self._spawn()

    def _retire(self, child: Port) -> None:
        child.retire()
        child.set_timer(_RETIRE_TIME, Port.kill)
        self._replace()

    def lost(self, child: Port, code: int | None) -> None:
        """The child has ended, and all that it sent has been heard (called by the port)."""
        self._children.discard(child)
        state, call = child.state, child.call
        error = storable(deaths.died(code, child.trace(), child.output.tail))
        if state is State.EXPIRED:
            self._fail_expired(child)
        child.close()
        if state is State.STARTING:
            self._note_failed_start(error)
        elif state is IDLE:
            self._idle.remove(child)
            logger.warning("an idle child ended: %s", error)
            self._replace(_RESPAWN_PAUSE if not child.tasks else 0.0)
        elif state is BUSY:
            child.call = None
            self._replace()
            if call is not None:
                self._tell(Failed(call, error, "lost", seconds=self._loop.time() - child.began))
        self._changed.set()

    def _give_up_start(self, child: Port) -> None:
        self._children.discard(child)
        child.kill()
        tail = child.output.tail
        child.close()
        self._note_failed_start(f"it did not report within {self._start_timeout:g} s\n{tail}".strip())

    def _note_failed_start(self, reason: str, pause: float = 0.0) -> None:
        self._failed_starts += 1
        if self._failed_starts < _MAX_FAILED_STARTS:
            self._replace(pause)
        elif self.broken is None and not self._closing:
            self.broken = PoolBroken(
                f"no child process can be started: {_MAX_FAILED_STARTS} in a row ended before they were ready. "
                f"The last one: {reason}"
            )
            self._changed.set()
            if self.on_broken is not None:
                self.on_broken(self.broken)

    def _abandon(self) -> None:
        self._closing = True
        for child in self._children:
            child.kill()
            child.close()
        self._children.clear()
        self._idle.clear()

    def _settings(self) -> bytes:
        return wire.pack_json(
            {
                "environ": dict(os.environ),
                "log_levels": logs.levels(),
                "report_memory": self._max_memory is not None,
            }
        )

    async def _until(self, condition: Callable[[], bool], seconds: float | None = None) -> None:
        """Wait until the condition holds, but no longer than `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
