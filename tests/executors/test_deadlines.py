"""A deadline is a deadline: whatever a step does, it ends, and its error says where it was."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pgflow_mp.executors import Completed, Failed

from .harness import call_of, is_alive
from .harness import play as play_cold

# What a handler needs is imported on the time of its first task; here the time is short.
play = functools.partial(play_cold, preload=[__name__])


def hang_in_python(flow_input):
    while True:
        pass


def hang_asleep(flow_input):
    time.sleep(60)


def nap(flow_input):
    time.sleep(flow_input)


def hang_in_c_holding_the_gil(flow_input):
    ctypes.PyDLL(None).sleep(60)


def hang_in_a_regular_expression(flow_input):
    re.match(r"(a+)+$", "a" * 64 + "b")


def hang_ignoring_signals(flow_input):
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGUSR2}:
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(1)


HANGS = [
    hang_in_python,
    hang_asleep,
    hang_in_c_holding_the_gil,
    hang_in_a_regular_expression,
    hang_ignoring_signals,
]


@pytest.mark.parametrize("hang", HANGS, ids=[hang.__name__ for hang in HANGS])
def test_a_step_past_its_timeout_is_killed_and_says_where_it_was(hang):
    async def scenario(crew):
        began = time.monotonic()
        hanging, other = await crew.run(call_of(hang, timeout=0.3), call_of(lambda: "fine"))
        assert time.monotonic() - began < 15
        assert isinstance(hanging, Failed)
        assert (hanging.reason, hanging.retryable) == ("timeout", True)
        first, *rest = hanging.error.splitlines()
        assert first == "Task timed out after 0.3s"
        assert any(f"in {hang.__name__}" in line and Path(__file__).name in line for line in rest), hanging.error
        assert not any("executors/process" in line for line in rest)
        assert 0.3 <= hanging.seconds < 10
        assert isinstance(other, Completed)
        await crew.until(lambda: crew.pool.free == 2)

    play(scenario)


def test_whole_seconds_are_shown_as_such():
    async def scenario(crew):
        outcome = await crew.run_one(hang_asleep, timeout=1)
        assert outcome.error.splitlines()[0] == "Task timed out after 1s"

    play(scenario)


def test_the_programs_that_a_step_has_started_die_with_it(tmp_path):
    def start_programs(flow_input):
        program = subprocess.Popen(["sleep", "60"])
        forked = os.fork()
        if forked == 0:
            time.sleep(60)
        Path(flow_input).write_text(f"{program.pid} {forked}")
        program.wait()

    async def scenario(crew):
        pids = tmp_path / "pids"
        outcome = await crew.run_one(start_programs, str(pids), timeout=0.5)
        assert outcome.reason == "timeout"
        await crew.until(lambda: not any(is_alive(int(pid)) for pid in pids.read_text().split()))

    play(scenario)


def test_a_stopped_child_is_killed_at_its_deadline():
    def stop(flow_input):
        os.kill(os.getpid(), signal.SIGSTOP)

    async def scenario(crew):
        outcome = await crew.run_one(stop, timeout=0.2)
        assert outcome.reason == "timeout"
        assert outcome.error == "Task timed out after 0.2s"

    play(scenario)


def test_the_time_of_a_waiting_call_does_not_run():
    async def scenario(crew):
        calls = [call_of(lambda: time.sleep(0.2), timeout=0.5) for _ in range(5)]
        assert all(isinstance(o, Completed) for o in await crew.run(*calls))

    play(scenario, size=1)


def test_each_call_has_its_own_deadline_whatever_its_child_did_before():
    async def scenario(crew):
        async def reasons(*plan):
            return [getattr(await crew.run_one(nap, seconds, timeout=t), "reason", "in time") for seconds, t in plan]

        assert await reasons((0, 60), (30, 0.3)) == ["in time", "timeout"]
        assert await reasons((0, 0.5), (1, 5), (0, 60), (30, 0.3)) == ["in time"] * 3 + ["timeout"]

    play(scenario, size=1)


def test_a_deadline_while_the_child_is_in_the_middle_of_a_large_reply_does_not_block_the_parent():
    def large(flow_input):
        return "x" * (8 << 20)

    async def scenario(crew):
        victim = call_of(large, timeout=0.3)
        crew.pool.submit(victim)
        (busy,) = [child for child in crew.pool._children if child.call is not None]
        crew.pool._loop.remove_reader(busy._pipe)  # the reply jams half-way, as if we were slow ...
        await crew.until(lambda: crew.outcomes)
        assert crew.outcomes[0].reason == "timeout"
        assert await crew.output(lambda: 1) == 1

    # ... and with nobody reading, its end does not show either: closing the pool ends it.
    play(scenario)


def test_steps_can_terminate_the_programs_that_they_start():
    """The child's own indifference to SIGTERM and SIGINT must not be inherited."""

    def terminate(flow_input):
        codes = []
        for number in (signal.SIGTERM, signal.SIGINT):
            program = subprocess.Popen(
                [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(30)"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            program.stdout.readline()
            program.send_signal(number)
            codes.append(program.wait(10))
            program.stdout.close()
        forked = os.fork()
        if forked == 0:
            time.sleep(30)
        os.kill(forked, signal.SIGTERM)
        return [*codes, os.waitpid(forked, 0)[1]]

    async def scenario(crew):
        codes = await crew.output(terminate)
        assert codes == [-signal.SIGTERM, -signal.SIGINT, signal.SIGTERM]

    play(scenario)


def test_the_copy_of_a_step_that_forks_and_returns_does_not_answer():
    def fork(flow_input):
        os.fork()
        return os.getpid()

    async def scenario(crew):
        outcomes = await crew.run(*[call_of(fork) for _ in range(20)])
        assert {int(o.output) for o in outcomes} <= set(crew.pool.pids)
        assert not crew.printed

    play(scenario)
