"""Whose line is this? Text that many tasks print at once, kept apart by task.

One pipe carries what a child prints, which is no use where a hundred tasks share it. So `sys.stdout` and
`sys.stderr` collect the lines of each task and send them with its number, bounded as for a process child. What goes
around them (C code, programs that a step starts) arrives through the pipe, without a name.
"""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING, TextIO

from pgflow_mp.executors.aio.watched import NUMBER
from pgflow_mp.executors.process.output import LIMIT
from pgflow_mp.executors.process.wire import Kind

if TYPE_CHECKING:
    from pgflow_mp.executors.process.child import Link


class Pages:
    """What each running task has printed and not yet sent."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()  # a handler's threads print too
        self._lines: dict[int, str] = {}
        self._left: dict[int, int] = {}

    def begin(self, number: int) -> None:
        """A task begins: it has the whole limit."""
        self._lines[number], self._left[number] = "", LIMIT

    def end(self, number: int) -> None:
        """It has ended: send the rest."""
        with self._lock:
            rest = self._lines.pop(number, "")
            self._left.pop(number, None)
        if rest:
            self._link.send(Kind.PRINT, number, rest.encode())

    def write(self, number: int, text: str) -> bool:
        """Take text of a task; False where there is no such task (any more), or this is a fork of the child."""
        if not self._link.is_ours:
            return False
        with self._lock:
            if number not in self._lines:
                return False
            whole, newline, rest = (self._lines[number] + self._allowed(number, text)).rpartition("\n")
            self._lines[number] = rest
        if newline:
            self._link.send(Kind.PRINT, number, (whole + newline).encode())
        return True

    def _allowed(self, number: int, text: str) -> str:
        left = self._left[number]
        if left <= 0:
            return ""
        text = text.encode("utf-8", "backslashreplace").decode()
        self._left[number] = left - len(text)
        if self._left[number] > 0:
            return text
        return f"{text[:left]}\n[more than {LIMIT // 1024} kB printed by one task: the rest is dropped]\n"


class Stream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of a child that runs many tasks."""

    def __init__(self, pages: Pages, plain: TextIO) -> None:
        self._pages = pages
        self._plain = plain

    @property
    def buffer(self) -> object:
        """The bytes below, for those who write bytes; nobody knows whose these are."""
        return getattr(self._plain, "buffer", None)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """UTF-8."""
        return self._plain.encoding

    def fileno(self) -> int:
        """The file descriptor of the pipe."""
        return self._plain.fileno()

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Write for the task that runs."""
        number = NUMBER.get()
        if not number or not self._pages.write(number, text):
            self._plain.write(text)
        return len(text)

    def flush(self) -> None:
        """Send what does not wait for the end of its line."""
        self._plain.flush()
