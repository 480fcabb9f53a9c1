"""What runs in a child with an event loop: many tasks at a time, each ended at its own deadline.

The guards are those of a process child (`process.child`). At its deadline a task is cancelled, with all that it has
started, and fails with the stack that it was waiting in. Its end is awaited for `CANCEL_PATIENCE`, so that its
cleanup does not overlap with the next attempt; one that catches the cancellation and goes on is reported as failed
all the same, and as stuck: the parent gives this child no more tasks and ends it when its neighbours are through.
A task whose result nobody wants any more (CANCEL) is ended in the same way.

What a task leaves running when it returns in time goes on in the loop: a connection pool that several tasks share
is such a thing. What it has started ends with it where it is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from pgflow_mp.errors import PgflowError
from pgflow_mp.executors.aio.printing import Pages, Stream
from pgflow_mp.executors.aio.stacks import where
from pgflow_mp.executors.aio.watched import CANCEL_PATIENCE, NUMBER, Families
from pgflow_mp.executors.base import CANCELLED
from pgflow_mp.executors.perform import Verdict, perform_async, storable
from pgflow_mp.executors.process import child, wire
from pgflow_mp.executors.process.deaths import timed_out_at
from pgflow_mp.executors.process.desk import question_of, read_answer
from pgflow_mp.executors.process.handlers import Item, Shelf
from pgflow_mp.executors.process.progress import Board
from pgflow_mp.executors.process.wire import Kind
from pgflow_mp.executors.services import DSN

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow_mp.hooks.handling import HandlerHooks

_WIND_UP = 2.0  # seconds for what is left when the child retires; the parent waits some more


def main(pipe: int, output: int, trace: int) -> None:
    """Serve the parent until it retires this child or goes away.

    Args:
        pipe: Task pipe.
        output: Where stdout and stderr go.
        trace: Where faulthandler writes; its first page says what the loop does.
    """
    link = LoopLink(pipe)
    child.live(link, output, trace, lambda settings: Server(link, settings, Board(trace)).run())


class LoopLink(child.Link):
    """The task pipe of a child that runs many tasks."""

    has_loop = True

    @property
    def number(self) -> int:
        """The task whose code asks."""
        return NUMBER.get()

    def ask(self, number: int, question: str) -> bytes:
        """Ask from a thread of a task, and wait; its loop must not wait.

        Raises:
            PgflowError: This is the loop.
        """
        if threading.get_ident() == self._loop_thread:
            raise PgflowError(
                "in an event loop this would hold up all other tasks: use `async with ctx.async_connection()`, "
                "or ask in a thread (asyncio.to_thread)"
            )
        return asyncio.run_coroutine_threadsafe(self.ask_async(number, question), self._loop).result()

    async def ask_async(self, number: int, question: str) -> bytes:
        """Ask the parent for what a task needs.

        Raises:
            PgflowError: The parent cannot tell.
        """
        answer = self._answers.setdefault((number, question), self._loop.create_future())
        self.send(Kind.ASK, number, question.encode())
        return read_answer(await asyncio.shield(answer))

    def answered(self, number: int, payload: bytes) -> None:
        """Hand the parent's answer to those that asked."""
        answer = self._answers.pop((number, question_of(payload)), None)
        if answer is not None and not answer.done():
            answer.set_result(payload)

    async def dsn_async(self) -> str:
        """Return where the database is; asked for once."""
        if self._dsn is None:
            self._dsn = (await self.ask_async(self.number, DSN)).decode()
        return self._dsn

    def listen(
        self, loop: asyncio.AbstractEventLoop, heard: Callable[[wire.Frame], None], ended: Callable[[], None]
    ) -> None:
        """Have the loop tell of each frame of the parent, and of its end."""
        self._loop, self._loop_thread = loop, threading.get_ident()
        self._answers: dict[tuple[int, str], asyncio.Future[bytes]] = {}

        def read() -> None:
            alive = self._inbox.fill(times=1)  # the pipe blocks, for those who write; one read cannot
            for frame in self._inbox.frames():
                heard(frame)
            if not alive:
                ended()

        loop.add_reader(self._pipe, read)


class Attempt:
    """One task in the loop.

    Attributes:
        number: What the parent calls it.
        timeout: Seconds that it may take.
        began: Loop time.
        task: What runs it.
        timer: Fires at its deadline, and then when the patience with its end is over.
        stack: Where it was when its end began; None before.
        cancelled: Whether its end is not its deadline: nobody wants its result.
    """

    __slots__ = ("began", "cancelled", "number", "stack", "task", "timeout", "timer")

    def __init__(self, number: int, timeout: float, began: float) -> None:
        self.number = number
        self.timeout = timeout
        self.began = began
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.stack: str | None = None
        self.cancelled = False


class Server:
    """The loop, and what it serves."""

    def __init__(self, link: LoopLink, settings: dict[str, Any], board: Board) -> None:
        self._link = link
        self._report_memory: bool = settings["report_memory"]
        self._hooks: HandlerHooks | None = settings["hooks"]
        self._max_payload: float = settings["max_payload"]
        self._shelf = Shelf()
        self._families = Families(board)
        self._pages = Pages(link)
        self._attempts: dict[int, Attempt] = {}
        self._retired = False
        self._loop = asyncio.new_event_loop()

    def run(self) -> None:
        """Serve until retired."""
        sys.stdout, sys.stderr = Stream(self._pages, sys.stdout), Stream(self._pages, sys.stderr)
        asyncio.set_event_loop(self._loop)
        self._loop.set_task_factory(self._families.make)
        self._link.listen(self._loop, self._heard, self._retire)
        while not self._retired:
            # asyncio lets these two out of a task and through the loop; they are that task's business.
            with contextlib.suppress(SystemExit, KeyboardInterrupt):
                self._loop.run_forever()
        self._wind_up()

    def _heard(self, frame: wire.Frame) -> None:
        kind, number, payload = frame
        if kind == Kind.RUN:
            self._begin(number, wire.Run.unpack(payload))
        elif kind == Kind.LOAD:
            self._shelf.load(payload)
        elif kind == Kind.CANCEL:
            self._cancel(number)
        elif kind == Kind.ANSWER:
            self._link.answered(number, payload)
        else:
            self._retire()

    def _retire(self) -> None:
        self._retired = True
        self._loop.stop()

    # One task --------------------------------------------------------------------------------------------

    def _begin(self, number: int, run: wire.Run) -> None:
        item = child.find(self._shelf, run)
        if not isinstance(item, Item):
            self._link.send(item[0], number, item[1])
            return
        attempt = self._attempts[number] = Attempt(number, run.timeout, self._loop.time())
        self._families.begin(number)
        self._pages.begin(number)
        context = contextvars.copy_context()
        context.run(NUMBER.set, number)
        attempt.task = self._loop.create_task(self._perform(attempt, item, run), context=context)
        attempt.timer = self._loop.call_later(run.timeout, self._expire, attempt)

    async def _perform(self, attempt: Attempt, item: Item, run: wire.Run) -> None:
        ctx = child.context_of(run, item, child.services_of(self._link, run, lambda: attempt.cancelled))
        verdict = await perform_async(
            item.step, ctx, run.input, run.flow_input or None, self._hooks, run.carriers, self._max_payload
        )
        if not self._link.is_ours:
            os._exit(0)  # the handler forked, and its copy returned as well
        if attempt.stack is None:
            self._answer(attempt, verdict)

    def _answer(self, attempt: Attempt, verdict: Verdict) -> None:
        """Report the end of a task, once."""
        if self._attempts.pop(attempt.number, None) is None:
            return
        if attempt.timer is not None:
            attempt.timer.cancel()
        self._families.end(attempt.number)
        self._pages.end(attempt.number)
        kind, payload = child.report(verdict, child.resident_memory() if self._report_memory else 0)
        self._link.send(kind, attempt.number, payload)

    # Deadlines, cancellations ----------------------------------------------------------------------------

    def _expire(self, attempt: Attempt) -> None:
        self._end(attempt, f"timed out after {attempt.timeout:g}s")

    def _cancel(self, number: int) -> None:
        attempt = self._attempts.get(number)
        if attempt is not None and attempt.stack is None and attempt.timer is not None:
            attempt.timer.cancel()
            attempt.cancelled = True
            self._end(attempt, "the run was cancelled")

    def _end(self, attempt: Attempt, why: str) -> None:
        assert attempt.task is not None
        living = self._families.living(attempt.number)
        attempt.stack = where(attempt.task, living)
        attempt.timer = self._loop.call_later(CANCEL_PATIENCE, self._give_up, attempt)
        for task in living:
            task.add_done_callback(lambda _: self._look(attempt))
            task.cancel(why)

    def _look(self, attempt: Attempt) -> None:
        """One of its asyncio tasks has ended: was it the last?"""
        if not self._families.living(attempt.number):
            self._answer_ended(attempt)

    def _give_up(self, attempt: Attempt) -> None:
        if attempt.number in self._attempts:
            self._link.send(Kind.STUCK, attempt.number, b"")
            self._answer_ended(attempt)

    def _answer_ended(self, attempt: Attempt) -> None:
        seconds = self._loop.time() - attempt.began
        if attempt.cancelled:
            self._answer(attempt, Verdict(seconds, error=CANCELLED, reason="cancelled", retryable=False))
        else:
            error = storable(timed_out_at(attempt.timeout, attempt.stack or ""))
            self._answer(attempt, Verdict(seconds, error=error, reason="timeout"))

    # The end ---------------------------------------------------------------------------------------------

    def _wind_up(self) -> None:
        """Let what is left clean up; a task that does not end is ended with the process."""
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        with contextlib.suppress(Exception, SystemExit, KeyboardInterrupt):
            if left:
                _, left = self._loop.run_until_complete(asyncio.wait(left, timeout=_WIND_UP))
            self._loop.run_until_complete(asyncio.wait_for(self._loop.shutdown_asyncgens(), _WIND_UP))
            self._loop.run_until_complete(asyncio.wait_for(self._link.async_lender.close(), _WIND_UP))
            self._link.lender.close()
        if left:
            os._exit(0)
