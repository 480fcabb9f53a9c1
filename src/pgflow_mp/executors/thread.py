"""The thread executor: steps that run in the worker's own process, in threads, because they asked to.

For what cannot leave the process (a model in its memory, an open device) or is too short to be worth the way to a
child. `executor="inline"` is the same with a single thread: one task at a time.

What that costs, and no executor could change: a thread cannot be killed. A handler past its time has failed (with
`Task timed out after Ns` and the line it is at), but its thread is only abandoned: it runs on until the handler
returns, and what it returns is dropped. One whose run was cancelled is only told so (`ctx.cancelled`). Abandoned
threads are counted, take no room from others, and never keep the worker from ending. A handler that holds the
interpreter's lock in C code, or crashes, takes the whole worker with it. What it prints goes where the worker prints,
without a name.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import logging
import os
import queue
import sys
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from pgflow_mp.errors import PgflowError
from pgflow_mp.executors.base import CANCELLED, Failed, Outcome, TaskCall
from pgflow_mp.executors.inline import run_here
from pgflow_mp.executors.lending import AsyncLender, Lender
from pgflow_mp.executors.payload import MAX_PAYLOAD_MB
from pgflow_mp.executors.perform import storable
from pgflow_mp.executors.process.deaths import timed_out
from pgflow_mp.executors.process.output import place_of
from pgflow_mp.executors.services import services_in_thread
from pgflow_mp.executors.status import ChildStatus, ExecutorStatus, RunningCall

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from pgflow_mp.context import Services
    from pgflow_mp.executors.base import Errands, Witness
    from pgflow_mp.hooks.handling import HandlerHooks

logger = logging.getLogger("pgflow_mp.thread")


class ThreadExecutor:
    """An `Executor` whose calls run in threads of this process.

    Args:
        on_outcome: Called in the loop with each outcome.
        size: How many calls run at once; by default what the standard library's thread pool would take.
        on_room: Called in the loop when `free` has grown without an outcome; here it never does.
        witness: Is told what begins where.
        hooks: What plugins have around each call of a handler.
        errands: Does what tasks ask of their worker.
        max_payload: MB of JSON that an input, or an output, may have.

    Attributes:
        abandoned: How many threads run on with a handler whose time is up.
    """

    def __init__(
        self,
        on_outcome: Callable[[Outcome], None],
        *,
        size: int | None = None,
        on_room: Callable[[], None] | None = None,
        witness: Witness | None = None,
        hooks: HandlerHooks | None = None,
        errands: Errands | None = None,
        max_payload: float = MAX_PAYLOAD_MB,
    ) -> None:
        self._witness = witness
        self._errands = errands
        self._lender, self._async_lender = Lender(self._dsn), AsyncLender(self._dsn_async)
        self._run = partial(run_here, hooks=hooks, max_payload=max_payload)
        self.on_outcome = on_outcome
        self.on_room = on_room
        self.abandoned = 0
        self._size = min(32, (os.cpu_count() or 1) + 4) if size is None else size
        if self._size < 1:
            raise ValueError(f"a thread executor needs at least one thread, not {self._size}")
        self._queue: deque[tuple[float, TaskCall]] = deque()
        self._idle: list[_Hand] = []
        self._busy: dict[_Hand, asyncio.TimerHandle] = {}
        self._finished = 0
        self._unfinished: list[TaskCall] = []
        self._closing = False
        self._changed = asyncio.Event()

    @property
    def size(self) -> int:
        """How many calls can run at once."""
        return self._size

    @property
    def free(self) -> int:
        """Threads without a call, less waiting calls."""
        return self._size - len(self._busy) - len(self._queue)

    @property
    def running(self) -> int:
        """How many calls run whose time is not up."""
        return len(self._busy)

    async def start(self) -> None:
        """Be ready; threads are started when they are needed."""
        self._loop = asyncio.get_running_loop()

    def submit(self, call: TaskCall) -> None:
        """Run the call in a thread, or keep it until there is one.

        Raises:
            PgflowError: The executor is closing.
        """
        if self._closing:
            raise PgflowError("the executor is closing and takes no more calls")
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
        return [hand.call for hand in self._busy] + [call for _, call in self._queue]

    def cancel(self, call: TaskCall) -> None:
        """Drop a call that waits; tell a handler that runs (`ctx.cancelled`), which ends when it likes."""
        for waiting in self._queue:
            if waiting[1] is call:
                self._queue.remove(waiting)
                self._loop.call_soon(self._tell, Failed(call, CANCELLED, "cancelled", retryable=False))
                return
        for hand in self._busy:
            if hand.call is call:
                hand.cancelled.set()

    def reload(self) -> None:
        """Nothing to do: the calls bring their handlers, as this process has imported them."""

    def status(self) -> ExecutorStatus:
        """Tell what the threads are doing: all of them as one child, this process."""
        now = time.monotonic()
        calls = tuple(RunningCall(hand.call, now - hand.began) for hand in self._busy)
        threads = ChildStatus(os.getpid(), "busy" if calls else "idle", calls, self._finished)
        return ExecutorStatus(size=self._size, waiting=len(self._queue), children=(threads,))

    async def close(self, grace: float) -> list[TaskCall]:
        """Let running calls finish for up to `grace` seconds; return what did not. Threads are not waited for."""
        self._closing = True
        self._unfinished += self.take_back(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._busy:
                    self._changed.clear()
                    await self._changed.wait()
        for hand in list(self._busy):
            self._unfinished.append(hand.call)
            self._abandon(hand)
        for hand in self._idle:
            hand.dismiss()
        self._idle.clear()
        self._lender.close()
        unfinished, self._unfinished = self._unfinished, []
        return unfinished

    def _feed(self) -> None:
        while self._queue and len(self._busy) < self._size:
            call = self._queue.popleft()[1]
            hand = self._idle.pop() if self._idle else _Hand(self._loop, self._done, self._run, self._services_of)
            self._busy[hand] = self._loop.call_later(call.timeout, self._expire, hand)
            if self._witness is not None:
                self._witness.call_started(call)
            hand.begin(call)

    def _dsn(self) -> str:
        if self._errands is None:
            raise PgflowError("there is no worker here that could tell the dsn")
        return self._errands.dsn

    async def _dsn_async(self) -> str:
        return self._dsn()

    def _services_of(self, call: TaskCall, cancelled: Callable[[], bool]) -> Services:
        return services_in_thread(self._loop, self._errands, call, (self._lender, self._async_lender), cancelled)

    def _done(self, hand: _Hand, outcome: Outcome) -> None:
        """A handler has ended."""
        timer = self._busy.pop(hand, None)
        if timer is None:  # it was abandoned: what came of it was told long ago
            self.abandoned -= 1
            hand.dismiss()
            return
        timer.cancel()
        self._finished += 1
        self._idle.append(hand)
        self._feed()
        self._changed.set()
        self._tell(outcome)

    def _expire(self, hand: _Hand) -> None:
        call, seconds = hand.call, time.monotonic() - hand.began
        error = storable(timed_out(call.timeout, hand.where()))
        self._abandon(hand)
        logger.warning(
            "%s of run %s is past its time in a thread, which cannot be ended; %d such threads run on",
            place_of(call),
            call.run_id,
            self.abandoned,
        )
        self._feed()
        self._tell(Failed(call, error, "timeout", seconds=seconds))

    def _abandon(self, hand: _Hand) -> None:
        self._busy.pop(hand).cancel()
        self.abandoned += 1
        self._changed.set()

    def _tell(self, outcome: Outcome) -> None:
        try:
            self.on_outcome(outcome)
        except Exception:
            logger.exception("on_outcome failed for step `%s`", outcome.call.step.slug)


class _Hand:
    """A thread that runs one call after the other, and dies with the process whatever it does.

    Attributes:
        call: The call that it runs, or ran last.
        began: When that began (monotonic).
        cancelled: Set when its result is not wanted any more.
    """

    call: TaskCall
    began: float
    cancelled: threading.Event

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_done: Callable[[_Hand, Outcome], None],
        run: Callable[..., Outcome],
        services: Callable[[TaskCall, Callable[[], bool]], Services],
    ) -> None:
        self._run = run
        self._services = services
        self._loop = loop
        self._on_done = on_done
        self._inbox: queue.SimpleQueue[tuple[TaskCall, Services] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="pgflow-mp step", daemon=True)
        self._thread.start()

    def begin(self, call: TaskCall) -> None:
        """Run a call."""
        self.call, self.began, self.cancelled = call, time.monotonic(), threading.Event()
        self._inbox.put((call, self._services(call, self.cancelled.is_set)))

    def dismiss(self) -> None:
        """End the thread when it has nothing to run."""
        self._inbox.put(None)

    def where(self) -> str:
        """Return the stack of the thread, innermost call first, as faulthandler would write it."""
        frame: FrameType | None = sys._current_frames().get(self._thread.ident or 0)  # noqa: SLF001
        lines = []
        while frame is not None:
            lines.append(f'  File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_name}')
            frame = frame.f_back
        return "\n".join(lines)

    def _work(self) -> None:
        while (given := self._inbox.get()) is not None:
            call, services = given
            outcome = contextvars.Context().run(self._run, call, services=services)
            if isinstance(outcome, Failed):  # its exception would keep the frames of the handler alive
                outcome = dataclasses.replace(outcome, exception=None)
            try:
                self._loop.call_soon_threadsafe(self._on_done, self, outcome)
            except RuntimeError:  # the loop has gone, and nobody waits for this any more
                return
            del given, call, services, outcome
