"""One child as the parent sees it: its process, its pipes, and what it does right now.

A port does the input and output of one child and decides nothing; the pool gives it its callbacks. When a child
has died is not a simple question: the end of the task pipe is the truth (everything that it sent has been read
by then), and so is an exit status from the fork server, for a process that a step has forked may keep the pipe
open. A sentinel that fires without a status is no truth: the fork server died, not the child.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import tempfile
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from pgflow_mp.executors.process import progress
from pgflow_mp.executors.process.output import Output
from pgflow_mp.executors.process.wire import Frame, Inbox, Kind, Outbox, pack

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from types import ModuleType

    from pgflow_mp.executors.base import TaskCall
    from pgflow_mp.executors.process.output import OutputSink

_STATUS_WAIT = 0.25  # seconds from the end of the pipe to the exit status; usually 1 ms
_STATUS_POLL = 0.005
_MAX_TRACE = 64 * 1024


class State(Enum):
    """What a child is doing."""

    STARTING = auto()  # until its HELLO
    IDLE = auto()
    BUSY = auto()
    RETIRING = auto()  # told to end, or to be told when its task is done
    EXPIRED = auto()  # past its deadline, being killed
    GONE = auto()


class Watcher(Protocol):
    """The pool, as a port sees it."""

    def heard(self, child: Port, frame: Frame) -> None:
        """A frame arrived."""

    def lost(self, child: Port, code: int | None) -> None:
        """The child has ended; all it sent has been heard."""


class Port:
    """One child.

    Attributes:
        state: What it is doing.
        pid: Its process id and process group, known from its HELLO.
        call: The call that it runs.
        number: The task number of that call.
        began: Loop time at which it got that call; before the first, at which it was started.
        deadline: Loop time at which the time of its call is up.
        timer: What ends the patience with its present state.
        tasks: How many calls it has finished.
        loaded: Digests of the handlers that it has.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, watcher: Watcher, sink: OutputSink) -> None:
        self.state = State.STARTING
        self.pid: int | None = None
        self.call: TaskCall | None = None
        self.number = 0
        self.began = loop.time()
        self.deadline = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self.tasks = 0
        self.stale = False
        self.loaded: set[str] = set()
        self._loop = loop
        self._watcher = watcher
        self._sink = sink
        self._is_writing = False

    def start(self, method: str, preload: tuple[str, ...], module: str) -> None:
        """Start the process and listen to it.

        Raises:
            OSError: No process could be started.
        """
        launch = launcher()

        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            pipe, their_pipe = launch.task_pipe()
            theirs.callback(os.close, their_pipe)
            ours.callback(os.close, pipe)
            output, their_output = os.pipe()
            theirs.callback(os.close, their_output)
            ours.callback(os.close, output)
            self._trace = _trace_file()
            ours.callback(os.close, self._trace)
            self._process = launch.start(method, preload, module, (their_pipe, their_output, self._trace))
            ours.callback(self._process.close)
            self._fds = ours.pop_all()
        for fd in (pipe, output):
            os.set_blocking(fd, False)
        self._pipe, self._inbox, self._outbox = pipe, Inbox(pipe), Outbox(pipe)
        self.output = Output(output, self._sink)
        self._loop.add_reader(pipe, self._read)
        self._loop.add_reader(output, self._read_output)
        self._loop.add_reader(self._process.sentinel, self._look)

    # What the pool does with a child ---------------------------------------------------------------------

    def send(self, frames: bytes) -> None:
        """Send one or more frames, as far as the pipe takes them now; the rest follows when it can."""
        try:
            done = self._outbox.write(frames)
        except OSError:  # it has died; the end of the pipe will say so
            return
        if not done and not self._is_writing:
            self._is_writing = True
            self._loop.add_writer(self._pipe, self._write)

    def retire(self) -> None:
        """Tell it to end."""
        self.state = State.RETIRING
        self.send(pack(Kind.RETIRE))

    def ask_where(self) -> None:
        """Have it write the stack of its main thread to the trace file."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGUSR2)

    def kill(self) -> None:
        """Kill it and what its steps have started (SIGKILL to its process group)."""
        pid = self.pid if self.pid is not None else self._process.known_pid()
        if pid is None:
            return  # the fork server has not said; it ends when `close` closes its pipes
        for kill in (os.killpg, os.kill):  # the group does not exist before its first instruction
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(pid, signal.SIGKILL)
                return

    def trace(self) -> str:
        """Return what faulthandler wrote."""
        return os.pread(self._trace, _MAX_TRACE, progress.SIZE).decode("utf-8", "replace")

    def progress(self) -> progress.Progress:
        """Return what its event loop is doing (a child with one)."""
        return progress.read(self._trace)

    def set_timer(self, seconds: float, action: Callable[[Port], None]) -> None:
        """Have `action` done in `seconds`, instead of what was to be done."""
        self.stop_timer()
        self.timer = self._loop.call_later(seconds, action, self)

    def stop_timer(self) -> None:
        """Forget what was to be done."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def close(self) -> None:
        """Stop listening and close all that belongs to it; a process that still lives ends by that."""
        self.state = State.GONE
        self.stop_timer()
        self._deafen()
        self._fds.close()

    # What happens to it ----------------------------------------------------------------------------------

    def _read(self) -> None:
        alive = self._inbox.fill()
        for frame in self._inbox.frames():
            self._watcher.heard(self, frame)
        if not alive and self.state is not State.GONE:
            self._await_status()

    def _read_output(self) -> None:
        if not self.output.pull(self.call):
            self._loop.remove_reader(self.output.fd)

    def _write(self) -> None:
        try:
            done = self._outbox.flush()
        except OSError:
            done = True
        if done:
            self._is_writing = False
            self._loop.remove_writer(self._pipe)

    def _look(self) -> None:
        """The sentinel has something to say: pid, status, or nothing any more."""
        if self._process.exit_code() is not None or self._process.sentinel_is_child:
            self._read_rest()
        elif self._process.is_orphaned:
            self._loop.remove_reader(self._process.sentinel)

    def _read_rest(self) -> None:
        """It has ended, though its pipe may be held open by a process that a step forked."""
        self._loop.remove_reader(self._process.sentinel)
        self._read()
        if self.state is not State.GONE:
            self._await_status()

    def _await_status(self) -> None:
        self._deafen()
        self._poll_status(self._loop.time() + _STATUS_WAIT)

    def _poll_status(self, until: float) -> None:
        if self.state is State.GONE:
            return
        code = self._process.exit_code()
        if code is None and self._loop.time() < until:
            self._loop.call_later(_STATUS_POLL, self._poll_status, until)
            return
        self.kill()  # the rest of its group; or itself, where it only closed its pipe
        self.output.end(self.call)
        self._watcher.lost(self, code)

    def _deafen(self) -> None:
        for fd in (self._pipe, self.output.fd, self._process.sentinel):
            self._loop.remove_reader(fd)
        self._loop.remove_writer(self._pipe)


def launcher() -> ModuleType:
    """Import `launch`, and with it dill: 60 ms that only a starting pool spends.

    Not by `from ... import`, which would find it on its package when it, and half of `multiprocess`, has been taken
    out of `sys.modules` (pytester does that between tests): the halves do not work together.
    """
    return importlib.import_module("pgflow_mp.executors.process.launch")


def _trace_file() -> int:
    """Return a file without a name, in memory where that exists: the child writes it, we read it after its death.

    Its first page is for `progress`; what faulthandler writes follows it, since the child shares our offset.
    """
    if sys.platform == "linux":
        fd = os.memfd_create("pgflow-mp-trace")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, progress.SIZE)
    os.lseek(fd, progress.SIZE, os.SEEK_SET)
    return fd
