"""Frames survive every way in which a pipe can cut them."""

from __future__ import annotations

import os
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgflow_mp.executors.process import deaths, wire
from pgflow_mp.executors.process.wire import Frame, Inbox, Kind, Outbox


@pytest.fixture
def pipe():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours.fileno(), theirs


frames = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**64 - 1), st.binary(max_size=300)), max_size=8)


@given(frames, st.lists(st.integers(1, 64), min_size=1))
def test_frames_come_out_as_they_went_in_however_they_are_cut(sent, cuts):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        inbox, received = Inbox(ours.fileno()), []
        data = b"".join(wire.pack(*frame) for frame in sent)
        for i in range(len(data)):
            cut = cuts[i % len(cuts)]
            if data:
                theirs.send(data[:cut])
                data = data[cut:]
                assert inbox.fill()
                received += inbox.frames()
        assert received == [Frame(*frame) for frame in sent]


def test_the_end_of_the_stream_comes_after_the_frames_before_it(pipe):
    fd, theirs = pipe
    theirs.send(wire.pack(Kind.DONE, 1, b"x") + wire.pack(Kind.DONE, 2, b"half")[:-1])
    theirs.close()
    inbox = Inbox(fd)
    while inbox.fill():
        pass
    assert list(inbox.frames()) == [Frame(Kind.DONE, 1, b"x")]


def test_an_outbox_keeps_what_the_pipe_does_not_take(pipe):
    fd, theirs = pipe
    outbox = Outbox(fd)
    payloads = [os.urandom(3 << 20), b"small", b""]
    for number, payload in enumerate(payloads):
        outbox.write(wire.pack(Kind.RUN, number, payload))
    assert not outbox.flush()
    received = []
    inbox = Inbox(theirs.fileno())
    reader = threading.Thread(target=lambda: received.extend(inbox.receive() for _ in payloads))
    reader.start()
    while not outbox.flush():
        pass
    reader.join(10)
    assert received == [Frame(Kind.RUN, number, payload) for number, payload in enumerate(payloads)]


def test_the_child_sees_the_end_of_its_parent(pipe):
    fd, theirs = pipe
    os.write(fd, wire.pack(Kind.RUN, 1, b"whole") + b"\x00\x00")
    with socket.socket(fileno=os.dup(fd)) as ours:
        ours.shutdown(socket.SHUT_WR)
    inbox = Inbox(theirs.fileno())
    assert inbox.receive().payload == b"whole"
    with pytest.raises(EOFError):
        inbox.receive()


def test_a_run_payload_and_a_report_come_back_as_they_were():
    run = wire.Run(wire.name_step("module:Flow", "f", "s"), bytes(range(16)), 3, 2, 1.5, b'{"a":1}', b"")
    assert wire.Run.unpack(run.pack()) == run
    report = wire.Report(0.25, 123456, flag=True)
    assert wire.Report.unpack(report.pack(b"body")) == (report, b"body")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (3, "exited with code 3"),
        (0, "exited with code 0"),
        (-9, "killed by SIGKILL (possibly out of memory)"),
        (-11, "segmentation fault (SIGSEGV)"),
        (-15, "killed by SIGTERM"),
        (-64 - 63, "killed by signal 127"),
        (None, "it closed its pipe, its exit status is not known"),
    ],
)
def test_an_exit_status_is_told_in_words(code, words):
    assert deaths.describe(code) == words


def test_a_stack_ends_where_our_code_begins():
    trace = (
        "Current thread 0x1 (most recent call first):\n"
        '  File "/app/flows.py", line 7 in inner\n'
        '  File "/app/flows.py", line 9 in work\n'
        '  File "/x/pgflow_mp/handler.py", line 48 in call\n'
        '  File "/x/pgflow_mp/executors/perform.py", line 50 in perform\n'
    )
    stack = '  File "/app/flows.py", line 7 in inner\n  File "/app/flows.py", line 9 in work'
    assert deaths.user_stack(trace) == stack
    assert deaths.timed_out(5.0, trace) == f"Task timed out after 5s\n\nIt was here (innermost call first):\n{stack}"
    assert deaths.timed_out(5, "") == "Task timed out after 5s"
