"""What the event loop of a child is doing, told in shared memory: readable while the loop is blocked, or dead.

The first page of a child's trace file holds two numbers: the task whose code the loop runs at this moment (0 for
none), and how often it has switched. The parent compares two looks: a loop that has not switched in between, past
the deadline of a task, is blocked, and the task to blame is named. Written without a lock: a number is eight
aligned bytes, and only one thread writes.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import NamedTuple

SIZE = 4096
"""Bytes of the file that belong to this; the rest is faulthandler's."""

_NUMBERS = struct.Struct("=QQ")


class Progress(NamedTuple):
    """One look at a loop.

    Attributes:
        number: The task whose code runs; 0 while none does.
        switches: How often a task's code has begun or gone on since the child started.
    """

    number: int
    switches: int


def read(fd: int) -> Progress:
    """Look at what a child last wrote (the parent's side)."""
    return Progress(*_NUMBERS.unpack(os.pread(fd, _NUMBERS.size, 0)))


class Board:
    """The child's side: where it writes what it does."""

    __slots__ = ("_numbers", "_switches")

    def __init__(self, fd: int) -> None:
        self._numbers = memoryview(mmap.mmap(fd, SIZE)).cast("Q")
        self._switches = 0

    def enter(self, number: int) -> None:
        """The loop runs this task's code from now on."""
        self._switches += 1
        self._numbers[1] = self._switches
        self._numbers[0] = number

    def leave(self) -> None:
        """It runs no task's code."""
        self._numbers[0] = 0
