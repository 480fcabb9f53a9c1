"""What runs in a child: read a frame, run the handler, answer; nothing else.

The handler has the main thread, and there is no other thread, so a handler may fork. A child guards itself:

- It ends when its parent does, whatever it is doing. On Linux the kernel signals its process group when the
  parent's end of a pipe closes (fcntl(2), F_SETOWN and F_SETSIG), even while C code holds the GIL, and takes
  the processes that a step started with it. Elsewhere a thread watches.
- Ctrl-C and SIGTERM are the parent's business. They get an empty handler instead of SIG_IGN, because an
  ignored signal stays ignored across exec(2), and a step could no longer terminate the programs it starts.
- It leads a process group of its own, so that killing it takes along what its steps have started.
- The out-of-memory killer takes it before the parent (oom_score_adj, proc(5)).
- What it prints goes into a pipe that the parent reads; fatal errors and the stack of a step that runs over its
  time go to the trace file (faulthandler).
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import json
import os
import random
import resource
import select
import signal
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from uuid import UUID

from multiprocess import parent_process

from pgflow_mp.context import Context
from pgflow_mp.errors import PgflowError
from pgflow_mp.executors.lending import AsyncLender, Lender
from pgflow_mp.executors.perform import Verdict, perform, storable
from pgflow_mp.executors.process import guard, logs, wire
from pgflow_mp.executors.process.desk import question_of, read_answer
from pgflow_mp.executors.process.handlers import Item, NotImportableError, Shelf
from pgflow_mp.executors.process.wire import Kind
from pgflow_mp.executors.services import DSN, FLOW_INPUT, TaskServices
from pgflow_mp.hooks.events import ChildInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pgflow_mp.context import Services
    from pgflow_mp.hooks.handling import HandlerHooks

_OOM_PENALTY = 500
_F_SETSIG = 10  # Linux's fcntl.h; Python has no name for it
_SHUTDOWN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ON_LINUX = sys.platform == "linux"


def main(pipe: int, output: int, trace: int) -> None:
    """Serve the parent until it retires this child or goes away.

    Args:
        pipe: Task pipe.
        output: Where stdout and stderr go.
        trace: Where faulthandler writes.
    """
    link = Link(pipe)
    live(link, output, trace, lambda settings: _serve(link, settings))


def live(link: Link, output: int, trace: int, serve: Callable[[dict[str, Any]], None]) -> None:
    """Guard this process, greet the parent, and serve it for as long as it is there.

    Args:
        link: The task pipe.
        output: Where stdout and stderr go.
        trace: Where faulthandler writes.
        serve: What to do then; gets the settings.
    """
    os.setsid()
    _redirect(output)
    _set_signals(trace)
    _end_with_parent()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        settings = json.loads(link.receive().payload)
        _settle_in(settings)
        logs.install(link, settings["log_levels"])
        settings["hooks"] = _hooks(settings)
        hello = {"pid": os.getpid(), "preload_troubles": guard.preload_troubles}
        link.send(Kind.HELLO, 0, wire.pack_json(hello))
        serve(settings)


class Link:
    """The child's end of the task pipe; any thread may send.

    Attributes:
        running: The task that runs, or ran last.
    """

    has_loop = False
    """Whether the child has one event loop for as long as it lives."""

    def __init__(self, pipe: int) -> None:
        self.running = 0
        self._pipe = pipe
        self._inbox = wire.Inbox(pipe)
        self._lock = threading.Lock()
        self._put_off: deque[wire.Frame] = deque()
        self._asking = threading.Lock()
        self._dsn: str | None = None
        self.lender = Lender(self.dsn)
        self.async_lender = AsyncLender(self.dsn_async, keeps=self.has_loop)
        # Blocked meanwhile: a signal to the new process must not meet the handler it has from us.
        os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=self._let_go)

    @property
    def number(self) -> int:
        """The task whose code asks."""
        return self.running

    @property
    def is_ours(self) -> bool:
        """False in a process that a handler has forked: it must not answer for us."""
        return self._pipe >= 0

    def receive(self) -> wire.Frame:
        """Wait for the parent's next frame."""
        return self._put_off.popleft() if self._put_off else self._inbox.receive()

    def send(self, kind: int, number: int, payload: bytes) -> None:
        """Write one frame."""
        with self._lock:
            wire.send(self._pipe, kind, number, payload)

    def ask(self, number: int, question: str) -> bytes:
        """Ask the parent for what a task needs, and wait for its answer; any thread of the task may.

        Raises:
            PgflowError: The parent cannot tell, or this is a process that the handler has forked.
        """
        with self._asking:
            if not self.is_ours:
                raise PgflowError(f"a process that a handler has forked cannot ask for the {question}; ask before")
            self.send(Kind.ASK, number, question.encode())
            while True:
                frame = self._inbox.receive()
                if frame.kind == Kind.ANSWER:
                    if frame.number == number and question_of(frame.payload) == question:
                        return read_answer(frame.payload)
                else:
                    self._put_off.append(frame)

    def dsn(self) -> str:
        """Return where the database is; asked for once."""
        if self._dsn is None:
            self._dsn = self.ask(self.number, DSN).decode()
        return self._dsn

    async def dsn_async(self) -> str:
        """The same in an event loop."""
        return self.dsn()

    def _let_go(self) -> None:
        """Be an ordinary process, where a handler forks: close our end, so that our death shows; obey signals."""
        if self.is_ours:
            os.close(self._pipe)
            self._pipe = -1
            logs.remove()
            for number in _SHUTDOWN:
                signal.signal(number, signal.SIG_DFL)
        _unblock()


def _block() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SHUTDOWN)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SHUTDOWN)


def _serve(link: Link, settings: dict[str, Any]) -> None:
    shelf = Shelf()
    while True:
        kind, number, payload = link.receive()
        if kind == Kind.RUN:
            link.running = number
            answer = _run(link, shelf, payload, settings)
            if not link.is_ours:
                os._exit(0)  # the handler forked, and its copy returned as well
            link.send(answer[0], number, answer[1])
        elif kind == Kind.LOAD:
            shelf.load(payload)
        elif kind != Kind.ANSWER:  # one that came too late is nobody's
            link.lender.close()
            return


def _run(link: Link, shelf: Shelf, payload: bytes, settings: Mapping[str, Any]) -> tuple[int, bytes]:
    run = wire.Run.unpack(payload)
    found = find(shelf, run)
    if not isinstance(found, Item):
        return found
    verdict = perform(
        found.step,
        context_of(run, found, services_of(link, run)),
        run.input,
        run.flow_input or None,
        settings["hooks"],
        run.carriers,
        settings["max_payload"],
    )
    _flush()
    return report(verdict, resident_memory() if settings["report_memory"] else 0)


def find(shelf: Shelf, run: wire.Run) -> Item | tuple[int, bytes]:
    """Return the step that the parent names, or what to answer where that cannot be had here (kind, payload)."""
    try:
        return shelf.find(run.head)
    except NotImportableError as error:
        return Kind.MISS, storable(str(error)).encode()
    except BaseException as error:  # noqa: BLE001 - unpickling runs the user's code
        text = storable(f"the handler cannot be loaded: {type(error).__name__}: {error}")
        return Kind.FAIL, wire.Report(0.0, 0, flag=True).pack(wire.pack_json((text, "raised")))


def services_of(link: Link, run: wire.Run, cancelled: Callable[[], bool] | None = None) -> TaskServices:
    """Return what stands behind the context of the task that the link runs now.

    Args:
        link: The way to the worker.
        run: The task.
        cancelled: Tells whether nobody wants the result, where the child outlives that.
    """
    number = link.number

    def report(fraction: float | None, message: str | None) -> None:
        if link.is_ours:
            link.send(Kind.PROGRESS, number, wire.pack_json((fraction, message)))

    def ask() -> bytes:
        return link.ask(number, FLOW_INPUT)

    return TaskServices(link.lender, link.async_lender, report, ask, run.flow_input or None, cancelled)


def context_of(run: wire.Run, item: Item, services: Services) -> Context:
    """Return the context of an attempt that begins now."""
    return Context.begin(
        flow_slug=item.flow_slug,
        run_id=UUID(bytes=run.run_id),
        step_slug=item.step.slug,
        task_index=run.task_index,
        attempt=run.attempt,
        timeout=run.timeout,
        services=services,
    )


def report(verdict: Verdict, memory: int) -> tuple[int, bytes]:
    """Return what to answer the parent: kind and payload."""
    if verdict.error is not None:
        head = wire.Report(verdict.seconds, memory, verdict.retryable)
        return Kind.FAIL, head.pack(wire.pack_json((verdict.error, verdict.reason)))
    carrier = (verdict.carrier or "").encode()
    head = wire.Report(verdict.seconds, memory, verdict.output is None, len(carrier))
    return Kind.DONE, head.pack(carrier + (verdict.output or "").encode())


def resident_memory() -> int:
    """Return this process's resident memory in bytes (its peak, where there is no /proc)."""
    if _ON_LINUX:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - once a task: the short way
            return int(file.read().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _flush() -> None:
    """Send what the handler printed before its answer, so that the parent knows whose it is."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # a handler may have closed or replaced it
            stream.flush()


# Settling in -----------------------------------------------------------------------------------------------


def _hooks(settings: Mapping[str, Any]) -> HandlerHooks | None:
    """Have the plugins that the worker has around handlers, and let them begin; what they raise ends this child."""
    if not settings["plugins"]:
        return None
    from pgflow_mp.hooks.handling import unpack  # only with plugins

    hooks = unpack(settings["plugins"])
    if hooks is not None:
        hooks.begin_child(ChildInfo(os.getpid(), settings["kind"]))
    return hooks


def _redirect(output: int) -> None:
    """Let stdin read nothing; stdout and stderr go to the parent, whose own stdout belongs to the user."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    # New objects: those of the fork server were made for the files that it was started with.
    sys.stdout, sys.stderr = _printer(1), _printer(2)


def _printer(fd: int) -> TextIO:
    """Return a text stream that is never an encoding error away from failing a step."""
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _set_signals(trace: int) -> None:
    for number in _SHUTDOWN:
        signal.signal(number, _ignore)
    faulthandler.enable(trace, all_threads=False)
    faulthandler.register(signal.SIGUSR2, trace, all_threads=False, chain=False)


def _ignore(number: int, frame: Any) -> None:
    """Ignore a signal without `SIG_IGN`, which the programs that a step starts would inherit."""


def _end_with_parent() -> None:
    sentinel = parent_process().sentinel
    if _ON_LINUX:
        fcntl.fcntl(sentinel, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(sentinel, _F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(sentinel, fcntl.F_SETFL, fcntl.fcntl(sentinel, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([sentinel], [], [], 0)[0]:  # it went before the kernel was told
            os._exit(1)
    else:
        threading.Thread(target=_watch, args=(sentinel,), name="pgflow-mp orphan guard", daemon=True).start()


def _watch(sentinel: int) -> None:
    select.select([sentinel], [], [])
    os.killpg(0, signal.SIGKILL)


def _settle_in(settings: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(settings["environ"])
    guard.cap_threads()
    time.tzset()
    with contextlib.suppress(OSError, ValueError):
        adjust = Path("/proc/self/oom_score_adj")
        adjust.write_text(str(min(1000, int(adjust.read_text()) + _OOM_PENALTY)))
    random.seed()
    if "numpy" in sys.modules:  # preloaded: every child would draw the same numbers
        sys.modules["numpy"].random.seed()
