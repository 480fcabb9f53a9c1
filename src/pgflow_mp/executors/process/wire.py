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

import json
import os
import struct
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from pgflow_mp.context import Context

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER = struct.Struct("!IBQ")
_REPORT = struct.Struct("!dQ?")
_LENGTHS = struct.Struct("!III")

_READ_AT_ONCE = 256 * 1024  # about what a socket buffer holds
_READS_AT_ONCE = 16  # then the loop gets its turn: 4 MiB


class Kind(IntEnum):
    """What a frame is."""

    # parent -> child
    SETUP = 0  # environment and settings; the first frame
    LOAD = 1  # digest + pickled step; precedes the first RUN that names the digest
    RUN = 2
    RETIRE = 3  # end when this is read
    # child -> parent
    HELLO = 16  # the child is ready
    DONE = 17
    FAIL = 18
    MISS = 19  # the step cannot be imported in the child: send it by value
    LOG = 20  # a log record


class Frame(NamedTuple):
    """One message."""

    kind: int
    number: int
    payload: bytes


def pack(kind: Kind, number: int = 0, payload: bytes = b"") -> bytes:
    """Return the frame's bytes.

    Raises:
        OverflowError: The payload has 4 GiB or more; Postgres takes 1 GiB at most.
    """
    if len(payload) > 0xFFFF_FFFF:
        raise OverflowError(f"a payload of {len(payload)} bytes does not fit in a frame (4 GiB)")
    return _HEADER.pack(len(payload), kind, number) + payload


class Inbox:
    """The parent's reading end: takes what is there, yields frames that are whole."""

    __slots__ = ("_buffer", "_fd")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = bytearray()

    def fill(self) -> bool:
        """Read what is there without blocking, up to 4 MiB; False at the end of the stream."""
        for _ in range(_READS_AT_ONCE):
            try:
                data = os.read(self._fd, _READ_AT_ONCE)
            except (BlockingIOError, InterruptedError):
                return True
            except ConnectionError:
                return False
            if not data:
                return False
            self._buffer += data
            if len(data) < _READ_AT_ONCE // 8:  # most likely that was all: spare the call that says so
                return True
        return True

    def frames(self) -> Iterator[Frame]:
        """Yield the whole frames read so far."""
        buffer, size = self._buffer, _HEADER.size
        while len(buffer) >= size:
            length, kind, number = _HEADER.unpack_from(buffer)
            end = size + length
            if len(buffer) < end:
                return
            payload = bytes(memoryview(buffer)[size:end])
            del buffer[:end]
            yield Frame(kind, number, payload)


class Outbox:
    """The parent's writing end: writes what the pipe takes, keeps the rest."""

    __slots__ = ("_fd", "_waiting")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting: deque[memoryview] = deque()

    def put(self, data: bytes) -> None:
        """Add bytes behind those that still wait; call `flush` next."""
        self._waiting.append(memoryview(data))

    def flush(self) -> bool:
        """Write until all is gone (True) or the pipe is full (False: call again when it is writable).

        Raises:
            OSError: The child is gone (EPIPE, ECONNRESET).
        """
        while self._waiting:
            data = self._waiting[0]
            try:
                written = os.write(self._fd, data)
            except (BlockingIOError, InterruptedError):
                return False
            if written == len(data):
                self._waiting.popleft()
            else:
                self._waiting[0] = data[written:]
        return True


def receive(fd: int) -> Frame:
    """Block until one frame is whole (the child's end).

    Raises:
        EOFError: The parent closed the pipe.
    """
    length, kind, number = _HEADER.unpack(_read(fd, _HEADER.size))
    return Frame(kind, number, _read(fd, length))


def send(fd: int, kind: Kind, number: int = 0, payload: bytes = b"") -> None:
    """Write one frame, blocking (the child's end).

    Raises:
        OSError: The parent is gone.
    """
    view = memoryview(pack(kind, number, payload))
    while view:
        view = view[os.write(fd, view) :]


def _read(fd: int, size: int) -> bytes:
    data = os.read(fd, min(size, _READ_AT_ONCE)) if size else b""
    if len(data) == size:
        return data
    buffer = bytearray(data)
    while len(buffer) < size:
        if not data:
            raise EOFError
        data = os.read(fd, min(size - len(buffer), _READ_AT_ONCE))
        buffer += data
    return bytes(buffer)


@dataclass(frozen=True, slots=True)
class Run:
    """The payload of a RUN frame: which step, for which task, with which input.

    Attributes:
        key: Names the handler in the child: a reference or a digest (`handlers`).
        names: Flow slug, run id, step slug, task index, attempt, timeout in seconds.
        input: JSON text.
        flow_input: JSON text, empty where there is none (JSON text never is).
    """

    key: str
    names: tuple[str, str, str, int, int, float]
    input: bytes
    flow_input: bytes

    def pack(self) -> bytes:
        """Return the payload's bytes."""
        head = json.dumps((self.key, *self.names)).encode()
        lengths = _LENGTHS.pack(len(head), len(self.input), len(self.flow_input))
        return b"".join((lengths, head, self.input, self.flow_input))

    def context(self) -> Context:
        """Return what the handler may ask for; its time starts now."""
        flow_slug, run_id, step_slug, task_index, attempt, timeout = self.names
        return Context.begin(
            flow_slug=flow_slug,
            run_id=UUID(run_id),
            step_slug=step_slug,
            task_index=task_index,
            attempt=attempt,
            timeout=timeout,
        )

    @classmethod
    def unpack(cls, payload: bytes) -> Run:
        """Read what `pack` made."""
        head, data, flow = _LENGTHS.unpack_from(payload)
        at = _LENGTHS.size
        key, *names = json.loads(payload[at : at + head])
        at += head
        return cls(key, tuple(names), payload[at : at + data], payload[at + data : at + data + flow])


class Report(NamedTuple):
    """What a child says at the end of a task, before output or error.

    Attributes:
        seconds: How long the handler ran.
        memory: The child's resident memory in bytes; 0 where nobody asked.
        flag: DONE: the output is SQL NULL. FAIL: the task may be tried again.
    """

    seconds: float
    memory: int
    flag: bool

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
