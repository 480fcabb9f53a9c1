"""What every pool of children has in common: its children, its queue, its callbacks, and how it begins and ends.

One asyncio loop does all of it (D-26); it reads and writes the pipes without blocking and starts no thread. Only
the loop touches a pool, so there are no locks. A pool decides which child gets which calls and what becomes of
them when a child dies: one call at a time in `process.pool`, many at once in `aio.pool`.
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
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from pgflow_mp.errors import PgflowError
from pgflow_mp.executors.base import CANCELLED, Completed, Failed, Outcome, TaskCall
from pgflow_mp.executors.payload import MAX_PAYLOAD_MB
from pgflow_mp.executors.process import logs, wire
from pgflow_mp.executors.process.desk import Desk
from pgflow_mp.executors.process.handlers import HandlerError, Packer, Parcel, load_payload
from pgflow_mp.executors.process.nursery import Nursery, PoolBroken, Recipe
from pgflow_mp.executors.process.output import place_of, to_stderr
from pgflow_mp.executors.process.port import Port, State, launcher
from pgflow_mp.executors.process.wire import Frame, Kind
from pgflow_mp.executors.status import ChildStatus, ExecutorStatus, RunningCall
from pgflow_mp.hooks.events import ChildInfo
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pgflow_mp.executors.base import Errands, Witness
    from pgflow_mp.executors.process.output import OutputSink

logger = logging.getLogger("pgflow_mp.pool")

_MEGABYTE = 1024 * 1024
START_SECONDS = 30.0
_RETIRE_TIME = 5.0  # seconds that a retired child has to end (its exit handlers run)


class ChildOptions(TypedDict, total=False):
    """What can be said of the children of every pool; all of it may be left out.

    Attributes:
        method: "forkserver" or "spawn"; by default the first where there is one and it is safe (not macOS).
        preload: Modules that the fork server imports once, before it forks (the flows'). They must not start
            threads or open connections when imported. What cannot be imported is logged, and left to the children.
        max_tasks_per_child: A child is replaced after so many calls.
        max_memory_per_child: A child is replaced when it holds more than so many MB after a call.
        max_payload: MB of JSON that an input, or an output, may have (`executors.payload`).
        start_timeout: Seconds until a child that has not said a word counts as dead.
        on_room: Called in the loop when `free` has grown without an outcome.
        on_broken: Called in the loop with the reason when no child can be started any more.
        on_output: Called in the loop with what children print (the call that printed it if any, and whole lines);
            by default it goes to stderr, with step and run in front.
        witness: Is told what begins where, and which children come and go.
        plugins: What children need to have the plugins around handlers (`hooks.handling.luggage`).
        errands: Does what tasks ask of their worker.
    """

    method: str | None
    preload: Iterable[str]
    max_tasks_per_child: int | None
    max_memory_per_child: float | None
    max_payload: float
    start_timeout: float
    on_room: Callable[[], None] | None
    on_broken: Callable[[PoolBroken], None] | None
    on_output: OutputSink
    witness: Witness | None
    plugins: Sequence[dict[str, str]]
    errands: Errands | None


class Household:
    """Children and the calls that wait for them; a base of executors.

    Args:
        on_outcome: Called in the loop with each outcome.
        children: How many children there are to be.
        options: See `ChildOptions`.
    """

    child_module = "pgflow_mp.executors.process.child"
    """What runs in a child: the `main` of this module."""
    kind: Literal["process", "async"] = "process"
    """What kind of children these are."""

    def __init__(
        self, on_outcome: Callable[[Outcome], None], *, children: int, **options: Unpack[ChildOptions]
    ) -> None:
        if children < 1:
            raise ValueError(f"a pool needs at least one process, not {children}")
        memory = options.get("max_memory_per_child")
        self.on_outcome = on_outcome
        self.on_room = options.get("on_room")
        self.on_broken = options.get("on_broken")
        self._wanted = children
        self._method = options.get("method") or ("spawn" if sys.platform == "darwin" else "forkserver")
        self._preload = tuple(dict.fromkeys(options.get("preload", ())))
        self._start_timeout = options.get("start_timeout", START_SECONDS)
        self._max_tasks = options.get("max_tasks_per_child")
        self._max_memory = None if memory is None else memory * _MEGABYTE
        self._max_payload = options.get("max_payload", MAX_PAYLOAD_MB)
        self._sink = options.get("on_output", to_stderr)
        self._witness = options.get("witness")
        self._plugins = options.get("plugins", ())
        self._desk = Desk(options.get("errands"))
        self._nursery: Nursery | None = None  # once started
        self._packer = Packer()
        self._numbers = itertools.count(1)
        self._queue: deque[tuple[float, TaskCall]] = deque()
        self._unfinished: list[TaskCall] = []
        self._closing = False
        self._changed = asyncio.Event()  # something that `start` or `close` waits for may have happened

    # The executor ----------------------------------------------------------------------------------------

    @property
    def broken(self) -> PoolBroken | None:
        """Why no child can be started any more, if so."""
        return None if self._nursery is None else self._nursery.broken

    @property
    def pids(self) -> list[int]:
        """The process ids of the children that have reported for duty."""
        return [child.pid for child in self._children if child.pid is not None]

    @property
    def running(self) -> int:
        """How many calls are with a child."""
        return sum(len(self._calls_of(child)) for child in self._children)

    def status(self) -> ExecutorStatus:
        """Tell what the children are doing."""
        now = time.monotonic()  # a loop's clock
        return ExecutorStatus(
            size=self.size,
            waiting=len(self._queue),
            children=tuple(
                ChildStatus(
                    pid=child.pid,
                    state=child.state.name.lower(),
                    calls=tuple(RunningCall(call, now - began) for call, began in self._calls_of(child)),
                    finished=child.tasks,
                )
                for child in sorted(self._children, key=lambda child: child.pid or 0)
            ),
        )

    async def start(self) -> None:
        """Start the children and wait until all are ready.

        Raises:
            PoolBroken: They cannot be started; the text has the reason that they gave.
        """
        self._loop = asyncio.get_running_loop()
        recipe = Recipe(
            method=self._method,
            preload=self._preload,
            setup=wire.pack(Kind.SETUP, 0, self._settings()),
            start_timeout=self._start_timeout,
            module=self.child_module,
        )
        nursery = self._nursery = Nursery(self._loop, recipe, self, self._sink, self._tell_broken)
        for _ in range(self._wanted):
            nursery.spawn()
        try:
            await self._until(lambda: nursery.broken is not None or len(self.pids) >= self._wanted)
        except BaseException:
            nursery.close()
            raise
        if nursery.broken is not None:
            await self.close(0)
            raise nursery.broken

    def submit(self, call: TaskCall) -> None:
        """Hand the call to a child with room for it, or keep it until there is one.

        Raises:
            PoolBroken: The pool is broken; the call was not taken.
        """
        if (broken := self.broken) is not None:
            raise broken
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

    def calls(self) -> list[TaskCall]:
        """Return the calls that it has, running or waiting."""
        running = [call for child in self._children for call, _ in self._calls_of(child)]
        return running + [call for _, call in self._queue]

    def cancel(self, call: TaskCall) -> None:
        """End a call whose result is not wanted: its outcome is `Failed`, `cancelled`."""
        for waiting in self._queue:
            if waiting[1] is call:
                self._queue.remove(waiting)
                self._loop.call_soon(self._tell, Failed(call, CANCELLED, "cancelled", retryable=False))
                self._feed()
                return
        for child in self._children:
            if any(running is call for running, _ in self._calls_of(child)):
                self._cancel_running(child, call)
                return

    def reload(self) -> None:
        """Replace all children by fresh ones that import the code as it is now; no call is lost."""
        if self._method == "forkserver":
            launcher().renew(self._preload)
        self._packer = Packer()
        for child in self._children:
            child.stale = True
        self._retire_idle()

    async def close(self, grace: float) -> list[TaskCall]:
        """Let running calls finish for up to `grace` seconds, end all children, return what did not finish.

        Calling it again (after a cancelled first time, or with less patience) is fine.
        """
        self._closing = True
        self._unfinished += self.take_back(0)
        if self._nursery is not None:
            self._nursery.is_closed = True
            await self._end_children(self._nursery, grace)
        unfinished, self._unfinished = self._unfinished, []
        return unfinished

    async def _end_children(self, nursery: Nursery, grace: float) -> None:
        self._retire_idle()
        await self._until(lambda: self.running == 0, grace)
        for child in nursery.children:
            calls = self._drop_calls(child)
            self._unfinished += calls
            if calls or child.state is not State.RETIRING:
                child.kill()
        await self._until(lambda: not nursery.children, _RETIRE_TIME)
        nursery.close()

    # What a pool decides ---------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many calls can run at once."""
        raise NotImplementedError

    def _calls_of(self, child: Port) -> Sequence[tuple[TaskCall, float]]:
        """Return the calls that the child has, each with the loop time at which it got it."""
        raise NotImplementedError

    def heard(self, child: Port, frame: Frame) -> None:
        """A frame arrived (called by the port)."""
        raise NotImplementedError

    def lost(self, child: Port, code: int | None) -> None:
        """The child has ended, and all that it sent has been heard (called by the port)."""
        raise NotImplementedError

    def _feed(self) -> None:
        """Hand waiting calls to children that have room."""
        raise NotImplementedError

    def _retire_idle(self) -> None:
        """Retire the children that run nothing and shall take no more calls."""
        raise NotImplementedError

    def _cancel_running(self, child: Port, call: TaskCall) -> None:
        """End a call that the child has."""
        raise NotImplementedError

    def _drop_calls(self, child: Port) -> list[TaskCall]:
        """Forget and return what the child runs."""
        raise NotImplementedError

    # Calls go, answers come ------------------------------------------------------------------------------

    def _parcel(self, call: TaskCall) -> Parcel | None:
        """Return how the call's handler travels; where it cannot, fail the call and return None."""
        try:
            return self._packer.pack(call.flow, call.step)
        except HandlerError as error:
            self._loop.call_soon(self._tell, Failed(call, str(error), "raised", retryable=False))
            return None

    def _send(self, child: Port, number: int, call: TaskCall, parcel: Parcel) -> None:
        flow_input = call.flow_input or b""
        run = wire.Run(
            parcel.head, call.run_id.bytes, call.task_index, call.attempt, call.timeout, call.input, flow_input,
            call.carriers,
        )  # fmt: skip
        frames = wire.pack(Kind.RUN, number, run.pack())
        if parcel.blob is not None and parcel.key not in child.loaded:
            child.loaded.add(parcel.key)
            frames = wire.pack(Kind.LOAD, 0, load_payload(parcel)) + frames
        child.send(frames)

    def _tell_started(self, call: TaskCall) -> None:
        if self._witness is not None:
            self._witness.call_started(call)

    def _send_by_value(self, child: Port, number: int, call: TaskCall, why: str) -> Failed | None:
        """Answer a child that could not import the handler; return the call's failure where that cannot be done."""
        try:
            self._send(child, number, call, self._packer.pack_by_value(call.flow, call.step))
        except HandlerError as error:
            return Failed(call, f"{error} ({why})", "raised", retryable=False)
        return None

    def _read_answer(self, child: Port, call: TaskCall, kind: int, payload: bytes) -> Outcome:
        """Return the outcome in a DONE or FAIL frame; a child that has done or holds too much becomes stale."""
        (seconds, memory, flag, carried), body = wire.Report.unpack(payload)
        child.tasks += 1
        child.stale = child.stale or self._is_spent(child, memory)
        if kind == Kind.DONE:
            carrier = body[:carried].decode() if carried else None
            return Completed(call, None if flag else body[carried:].decode(), seconds, carrier)
        error, reason = json.loads(body)
        return Failed(call, error, reason, flag, seconds)

    def _is_spent(self, child: Port, memory: int) -> bool:
        by_tasks = self._max_tasks is not None and child.tasks >= self._max_tasks
        by_memory = self._max_memory is not None and memory > self._max_memory
        return by_tasks or by_memory

    def _log(self, call: TaskCall | None, payload: bytes) -> None:
        try:
            logs.handle(payload, call)
        except Exception:
            logger.exception("a log record of a child could not be handled")

    # What others are told: an error of theirs must not reach the code that keeps the books here.

    def _tell(self, outcome: Outcome) -> None:
        try:
            self.on_outcome(outcome)
        except Exception:
            logger.exception("on_outcome failed for step `%s`", outcome.call.step.slug)

    def _tell_room(self) -> None:
        try:
            if self.on_room is not None and not self._closing:
                self.on_room()
        except Exception:
            logger.exception("on_room failed")

    def _tell_broken(self, broken: PoolBroken) -> None:
        self._changed.set()
        try:
            if self.on_broken is not None:
                self.on_broken(broken)
        except Exception:
            logger.exception("on_broken failed")

    # Children come and go --------------------------------------------------------------------------------

    def _greet(self, child: Port, payload: bytes) -> None:
        """Take note of a child's first word."""
        self._home.greet(child, json.loads(payload))
        if self._witness is not None and child.pid is not None:
            self._witness.child_started(ChildInfo(child.pid, self.kind))

    def _mourn(
        self, child: Port, code: int | None, cause: str, calls: Sequence[TaskCall], level: int = logging.WARNING
    ) -> None:
        """Have it told that a child was lost, and log it: who reads the log at night wants to know what took it."""
        if self._closing and not calls:
            return  # it was killed here
        logger.log(level, "child process %s, %s: %s", child.pid, _occupation(calls), cause.partition("\n")[0])
        if self._witness is not None and child.pid is not None:
            self._witness.child_lost(ChildInfo(child.pid, self.kind), code, cause, calls)

    def _retire(self, child: Port) -> None:
        self._dismiss(child)
        self._replace()

    def _dismiss(self, child: Port) -> None:
        child.retire()
        child.set_timer(_RETIRE_TIME, Port.kill)

    def _replace(self, *, pause: bool = False) -> None:
        self._home.replace(pause=pause)
        self._changed.set()

    def _settings(self) -> bytes:
        return wire.pack_json(
            {
                "environ": dict(os.environ),
                "log_levels": logs.levels(),
                "report_memory": self._max_memory is not None,
                "max_payload": self._max_payload,
                "plugins": self._plugins,
                "kind": self.kind,
            }
        )

    @property
    def _home(self) -> Nursery:
        assert self._nursery is not None, "there are children only after start()"
        return self._nursery

    @property
    def _children(self) -> set[Port]:
        return set() if self._nursery is None else self._nursery.children

    async def _until(self, condition: Callable[[], bool], seconds: float | None = None) -> None:
        """Wait until the condition holds, but no longer than `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()


def _occupation(calls: Sequence[TaskCall]) -> str:
    """Return what a child that has these calls is doing, in words."""
    if not calls:
        return "idle"
    others = f" and {counted(len(calls) - 1, 'other task')}" if len(calls) > 1 else ""
    return f"running {place_of(calls[0])} of run {calls[0].run_id}{others}"
