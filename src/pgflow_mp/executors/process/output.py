"""What a child prints, read by the parent: handed on line by line, bounded, its end kept for an obituary.

stdout and stderr of a child are one pipe, so the parent's own stdout stays clean and the order is kept. A step
that prints without end is not stopped, its text beyond the limit is dropped: printing must cost neither the
parent's memory nor the other steps their turn.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow_mp.executors.base import TaskCall

    OutputSink: TypeAlias = Callable[["TaskCall | None", str], None]

logger = logging.getLogger("pgflow_mp.pool")

LIMIT = 64 * 1024
"""Bytes of one task that are handed on."""
_LONG_LINE = 8 * 1024
_TAIL = 4 * 1024
_READ_AT_ONCE = 16 * 1024
_READS_AT_ONCE = 8  # a pipe holds 64 KiB: all that was printed before a task's answer is read with it


class Output:
    """The reading end of one child's output pipe."""

    def __init__(self, fd: int, sink: OutputSink) -> None:
        self.fd = fd
        self._sink = sink
        self._line = bytearray()
        self._tail = bytearray()
        self._left = 0  # what a child says before its first task is told where its start fails

    @property
    def tail(self) -> str:
        """The end of all that the child has printed."""
        return self._tail.decode("utf-8", "replace")

    def begin(self) -> None:
        """Start a task: it has the whole limit."""
        self._left = LIMIT

    def pull(self, call: TaskCall | None) -> bool:
        """Hand on the whole lines that are there, as printed by `call`; False at the end of the stream."""
        for _ in range(_READS_AT_ONCE):
            try:
                data = os.read(self.fd, _READ_AT_ONCE)
            except (BlockingIOError, InterruptedError):
                return True
            except OSError:
                return False
            if not data:
                return False
            self._take(data, call)
        return True

    def end(self, call: TaskCall | None) -> None:
        """Hand on the rest, at the end of a task."""
        self.pull(call)
        self._hand_on(len(self._line), call)

    def _take(self, data: bytes, call: TaskCall | None) -> None:
        self._tail += data[-_TAIL:]
        del self._tail[:-_TAIL]
        if self._left <= 0:
            return
        self._line += data[: self._left]
        self._left -= len(data)
        if self._left <= 0:
            self._line += b"\n[more than %d kB printed by one task: the rest is dropped]\n" % (LIMIT // 1024)
        if len(self._line) > _LONG_LINE:
            self._hand_on(len(self._line), call)
        elif (end := self._line.rfind(b"\n") + 1) > 0:
            self._hand_on(end, call)

    def _hand_on(self, end: int, call: TaskCall | None) -> None:
        if end:
            text = self._line[:end].decode("utf-8", "replace")
            del self._line[:end]
            try:
                self._sink(call, text)
            except Exception:  # its error must not keep a task's outcome back
                logger.exception("on_output failed")


def to_stderr(call: TaskCall | None, text: str) -> None:
    """Write a child's text to our stderr, each line with step and run in front."""
    _write("" if call is None else f"{place_of(call)} {call.run_id} ", text)


def to_stderr_of_one_run(call: TaskCall | None, text: str) -> None:
    """The same where there is one run only, which need not be named on each line."""
    _write("" if call is None else f"{place_of(call)} ", text)


def place_of(call: TaskCall) -> str:
    """Return what people call a task of a run: ``flow.step[index]``."""
    return f"{call.flow.slug}.{call.step.slug}[{call.task_index}]"


def _write(mark: str, text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write("".join(f"{mark}{line}\n" for line in text.splitlines()))
        sys.stderr.flush()
