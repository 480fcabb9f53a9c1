"""The bytes between parent and child: frames of a kind, a task number and a payload.

`| length: u32 | kind: u8 | number: u64 | payload |`, big-endian, over one socket pair per child. Nothing is
pickled on the way up: outputs are JSON text, errors are text, so no class of a user's can break the parent.

Both ends frame by themselves instead of using `Connection.send_bytes`: the parent must never block on a
child. A child that is stopped or killed half-way through an 8 MiB reply would freeze a blocking `recv_bytes`,
and a large input sent to a child that is still importing would freeze `send_bytes`. So the parent's end is
non-blocking (`Inbox` and `Outbox` keep what is half done), while the child, which has nothing else to do,
blocks. A half-written frame harms its own pipe only. Both ends cannot wait for each other to read: a child
gets a task only when it has none (prefetch 0), and it then reads until the frame is whole.
"""

from __future__ import annotations

import itertools
import json
import os
import struct
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER = struct.Struct("!IBQ")
_HEADER_SIZE = _HEADER.size
_REPORT = struct.Struct("!dQ?I")
_RUN = struct.Struct("!16sIIdIII")

# Most frames are small. Asking for much would have malloc map and unmap memory for each of them (mallopt(3),
# M_MMAP_THRESHOLD), so only a reader in the middle of a large frame asks for what a socket buffer may hold.
_SMALL_READ = 16 * 1024
_LARGE_READ = 256 * 1024
_READS_AT_ONCE = 16  # then the loop gets its turn: 4 MiB


class Kind:
    """What a frame is: plain integers, for one is looked up several times for each task."""

    # parent -> child
    SETUP: Final = 0  # environment and settings; the first frame
    LOAD: Final = 1  # digest + pickled step; precedes the first RUN that names the digest
    RUN: Final = 2
    RETIRE: Final = 3  # end when this is read
    CANCEL: Final = 4  # end the task of this number, where a child runs many
    ANSWER: Final = 5  # to an ASK of the task of this number
    # child -> parent
    HELLO: Final = 16  # the child is ready
    DONE: Final = 17
    FAIL: Final = 18
    MISS: Final = 19  # the step cannot be imported in the child: send it by value
    LOG: Final = 20  # a log record
    PRINT: Final = 21  # whole lines that a task printed, where a child runs many
    STUCK: Final = 22  # the task does not end, though it was cancelled: give this child no more
    ASK: Final = 23  # the task needs something that only the worker has
    PROGRESS: Final = 24  # how far the task is


class Frame(NamedTuple):
    """One message."""

    kind: int
    number: int
    payload: bytes


def pack(kind: int, number: int = 0, payload: bytes = b"") -> bytes:
    """Return the frame's bytes.

    Raises:
        OverflowError: The payload has 4 GiB or more; Postgres takes 1 GiB at most.
    """
    if len(payload) > 0xFFFF_FFFF:
        raise OverflowError(f"a payload of {len(payload)} bytes does not fit in a frame (4 GiB)")
    return _HEADER.pack(len(payload), kind, number) + payload


class Inbox:
    """A reading end: keeps what is half read, gives frames that are whole."""

    __slots__ = ("_buffer", "_fd")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = bytearray()

    def receive(self) -> Frame:
        """Block until a frame is whole (the child's way).

        Raises:
            EOFError: The parent closed the pipe.
        """
        while (frame := self._take()) is None:
            data = os.read(self._fd, self._want())
            if not data:
                raise EOFError
            self._buffer += data
        return frame

    def fill(self, times: int = _READS_AT_ONCE) -> bool:
        """Read what is there, up to 4 MiB; False at the end of the stream (the parent's way).

        It does not block if the pipe does not. On one that does, a single read is safe once the pipe is readable.
        """
        for _ in range(times):
            want = self._want()
            try:
                data = os.read(self._fd, want)
            except (BlockingIOError, InterruptedError):
                return True
            except ConnectionError:
                return False
            if not data:
                return False
            self._buffer += data
            if len(data) < want:  # most likely that was all: spare the call that says so
                return True
        return True

    def frames(self) -> Iterator[Frame]:
        """Yield the whole frames read so far."""
        while self._buffer and (frame := self._take()) is not None:
            yield frame

    def _want(self) -> int:
        return _SMALL_READ if len(self._buffer) < _SMALL_READ else _LARGE_READ

    def _take(self) -> Frame | None:
        buffer = self._buffer
        if len(buffer) < _HEADER_SIZE:
            return None
        length, kind, number = _HEADER.unpack_from(buffer)
        end = _HEADER_SIZE + length
        if len(buffer) < end:
            return None
        with memoryview(buffer) as view:
            payload = bytes(view[_HEADER_SIZE:end])
        del buffer[:end]
        return Frame(kind, number, payload)


class Outbox:
    """The parent's writing end: writes what the pipe takes, keeps the rest."""

    __slots__ = ("_fd", "_waiting")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting: deque[memoryview] = deque()

    def write(self, data: bytes) -> bool:
        """Write the data behind what still waits; True if all is gone, else call `flush` when there is room.

        Raises:
            OSError: The child is gone (EPIPE, ECONNRESET).
        """
        if not self._waiting:
            data = data[self._write(data) :]
        if data:
            self._waiting.append(memoryview(data))
        return not self._waiting

    def flush(self) -> bool:
        """Write what waits, until all is gone (True) or the pipe is full (False).

        Raises:
            OSError: As for `write`.
        """
        while self._waiting:
            data = self._waiting[0]
            written = self._write(data)
            if written < len(data):
                self._waiting[0] = data[written:]
                return False
            self._waiting.popleft()
        return True

    def _write(self, data: bytes | memoryview) -> int:
        try:
            return os.write(self._fd, data)
        except (BlockingIOError, InterruptedError):
            return 0


def send(fd: int, kind: int, number: int = 0, payload: bytes = b"") -> None:
    """Write one frame, blocking (the child's end).

    Raises:
        OSError: The parent is gone.
    """
    view = memoryview(pack(kind, number, payload))
    while view:
        view = view[os.write(fd, view) :]


class Run(NamedTuple):
    """The payload of a RUN frame: which step, for which task, with which input.

    Attributes:
        head: Names the handler, the same bytes for each task of a step: see `name_step`.
        run_id: The run, 16 bytes.
        task_index: The element's place in a map step.
        attempt: 1 for the first.
        timeout: Seconds.
        input: JSON text.
        flow_input: JSON text, empty where there is none (JSON text never is).
        carriers: What plugins passed along, JSON text, empty where there is none.
    """

    head: bytes
    run_id: bytes
    task_index: int
    attempt: int
    timeout: float
    input: bytes
    flow_input: bytes
    carriers: bytes = b""

    def pack(self) -> bytes:
        """Return the payload's bytes."""
        head, run_id, task_index, attempt, timeout, data, flow, carriers = self
        start = _RUN.pack(run_id, task_index, attempt, timeout, len(head), len(data), len(flow))
        return b"".join((start, head, data, flow, carriers))

    @classmethod
    def unpack(cls, payload: bytes) -> Run:
        """Read what `pack` made."""
        run_id, task_index, attempt, timeout, *sizes = _RUN.unpack_from(payload)
        ends = list(itertools.accumulate(sizes, initial=_RUN.size))
        head, data, flow = (payload[start:end] for start, end in itertools.pairwise(ends))
        return cls(head, run_id, task_index, attempt, timeout, data, flow, payload[ends[-1] :])


def name_step(key: str, flow_slug: str, step_slug: str) -> bytes:
    """Return the head of RUN frames for a step: its parcel's key and what it is called."""
    return f"{key}\n{flow_slug}\n{step_slug}".encode()


class Report(NamedTuple):
    """What a child says at the end of a task, before output or error.

    Attributes:
        seconds: How long the handler ran.
        memory: The child's resident memory in bytes; 0 where nobody asked.
        flag: DONE: the output is SQL NULL. FAIL: the task may be tried again.
        carried: DONE: how many bytes in front of the output are what plugins leave for the tasks that follow.
    """

    seconds: float
    memory: int
    flag: bool
    carried: int = 0

    def pack(self, body: bytes) -> bytes:
        """Return the payload's bytes, `body` last."""
        return _REPORT.pack(*self) + body

    @classmethod
    def unpack(cls, payload: bytes) -> tuple[Report, bytes]:
        """Read what `pack` made."""
        return cls._make(_REPORT.unpack_from(payload)), payload[_REPORT.size :]


def pack_json(value: Any) -> bytes:
    """Return small structured payloads (HELLO, LOG, FAIL) as JSON."""
    return json.dumps(value).encode("utf-8", "backslashreplace")
