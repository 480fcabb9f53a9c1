"""A child may die in any way: its call fails with the cause, its neighbours do not notice."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time

import pytest

from pgflow_mp.executors import Completed, Failed
from pgflow_mp.executors.process import nursery

from .harness import Crew, call_of, is_alive, play, wait_until


def exit_hard(flow_input):
    os._exit(3)


def kill_itself(flow_input):
    os.kill(os.getpid(), signal.SIGKILL)


def segfault(flow_input):
    ctypes.string_at(0)


def abort(flow_input):
    os.abort()


def double(flow_input):
    time.sleep(0.01)
    return flow_input * 2


CAUSES = [
    (exit_hard, "Worker process died: exited with code 3"),
    (kill_itself, "Worker process died: killed by SIGKILL (possibly out of memory)"),
    (segfault, "Worker process died: segmentation fault (SIGSEGV)"),
    (abort, "Worker process died: killed by SIGABRT"),
]


@pytest.mark.parametrize(("victim", "first_line"), CAUSES, ids=[victim.__name__ for victim, _ in CAUSES])
def test_a_dying_child_fails_its_own_call_only_and_says_why(victim, first_line, caplog):
    async def scenario(crew):
        pids = crew.pool.pids
        calls = [call_of(double, i) for i in range(24)]
        calls.insert(5, call_of(victim))
        outcomes = await crew.run(*calls)
        lost = outcomes.pop(5)
        assert isinstance(lost, Failed)
        assert (lost.reason, lost.retryable) == ("lost", True)
        assert lost.error.splitlines()[0] == first_line
        assert [o.output for o in outcomes] == [str(2 * i) for i in range(24)]
        await crew.until(lambda: crew.pool.free == 2)
        (logged,) = [record.getMessage() for record in caplog.records]
        running = f"running single.work[0] of run {lost.call.run_id}: {first_line}"
        assert logged in [f"child process {pid}, {running}" for pid in pids]

    play(scenario)


def test_a_segfault_tells_the_line_of_the_step():
    async def scenario(crew):
        lost = await crew.run_one(segfault)
        assert "Segmentation fault" in lost.error
        assert "in segfault" in lost.error
        assert "executors/process" not in lost.error

    play(scenario)


def test_what_a_child_printed_last_is_in_the_obituary():
    def last_words(flow_input):
        print("the disk is full", end="", file=sys.stderr, flush=True)
        os._exit(1)

    async def scenario(crew):
        lost = await crew.run_one(last_words)
        assert "exited with code 1" in lost.error
        assert "the disk is full" in lost.error
        assert crew.printed == [(lost.call, "the disk is full")]

    play(scenario)


@pytest.mark.slow
def test_many_crashes_in_a_row_do_not_break_the_pool():
    async def scenario(crew):
        outcomes = await crew.run(*[call_of(exit_hard) for _ in range(10)], call_of(double, 21))
        assert [o.reason for o in outcomes[:-1]] == ["lost"] * 10
        assert outcomes[-1].output == "42"

    play(scenario)


def test_a_reply_that_was_sent_counts_although_the_child_died_right_after():
    def leave_behind(flow_input):
        import threading

        threading.Timer(0.05, os._exit, (7,)).start()
        return "done"

    async def scenario(crew):
        before = set(crew.pool.pids)
        assert await crew.output(leave_behind) == "done"
        await crew.until(lambda: len(crew.pool.pids) == 2 and set(crew.pool.pids) != before)
        assert await crew.output(double, 1) == 2

    play(scenario)


def test_an_idle_child_that_is_killed_is_replaced(caplog):
    async def scenario(crew):
        before = set(crew.pool.pids)
        os.kill(min(before), signal.SIGKILL)
        await crew.until(lambda: crew.pool.free == 1)
        await crew.until(lambda: crew.pool.free == 2)
        assert len(set(crew.pool.pids) - before) == 1
        assert crew.rooms >= 3  # two at the start, one for the replacement
        cause = "Worker process died: killed by SIGKILL (possibly out of memory)"
        assert [r.getMessage() for r in caplog.records] == [f"child process {min(before)}, idle: {cause}"]

    play(scenario)


@pytest.mark.parametrize("fork", ["python", "c"])
def test_a_crash_is_seen_although_a_process_of_the_step_holds_the_pipe_open(fork):
    def fork_and_die(flow_input):
        # A fork in C runs none of Python's hooks, in which a child lets go of the pipe.
        if (os.fork() if fork == "python" else ctypes.CDLL(None).fork()) == 0:
            time.sleep(60)
            os._exit(0)
        os._exit(5)

    async def scenario(crew):
        began = time.monotonic()
        lost = await crew.run_one(fork_and_die)
        assert lost.error.startswith("Worker process died: exited with code 5")
        assert time.monotonic() - began < 5

    play(scenario)


def test_the_programs_of_a_step_that_crashes_die_with_it():
    def start_and_die(flow_input):
        program = subprocess.Popen(["sleep", "60"])
        print(program.pid, flush=True)
        os._exit(5)

    async def scenario(crew):
        assert (await crew.run_one(start_and_die)).reason == "lost"
        ((_, pid),) = crew.printed
        await crew.until(lambda: not is_alive(int(pid)))

    play(scenario)


def test_a_step_that_closes_all_descriptors_is_lost_but_harms_nobody():
    def close_all(flow_input):
        os.closerange(3, 256)
        time.sleep(60)

    async def scenario(crew):
        outcomes = await crew.run(call_of(close_all), call_of(double, 4))
        assert outcomes[0].reason == "lost"
        assert "closed its pipe" in outcomes[0].error
        assert outcomes[1].output == "8"

    play(scenario)


def test_the_death_of_the_fork_server_is_no_death_of_its_children():
    async def scenario(crew):
        from pgflow_mp.executors.process import launch

        slow = call_of(lambda: time.sleep(0.5) or "survived")
        crew.pool.submit(slow)
        (server,) = [s for key, s in launch._servers.items() if key[1] == ()]
        os.kill(server._forkserver_pid, signal.SIGKILL)
        await crew.until(lambda: crew.outcomes)
        assert crew.outcomes[0].output == '"survived"'
        lost = await crew.run_one(kill_itself)  # and its replacement comes from a new server
        assert lost.reason == "lost"
        assert await crew.output(double, 1) == 2

    play(scenario)


def test_sigterm_to_everything_leaves_server_and_children_working():
    async def scenario(crew):
        from pgflow_mp.executors.process import launch

        (server,) = [s for key, s in launch._servers.items() if key[1] == ()]
        for pid in (server._forkserver_pid, *crew.pool.pids):
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(pid, number)
        before = set(crew.pool.pids)
        outcomes = await crew.run(call_of(double, 1), call_of(double, 2))
        assert all(isinstance(o, Completed) for o in outcomes)
        assert set(crew.pool.pids) == before
        wait_until(lambda: os.waitpid(server._forkserver_pid, os.WNOHANG) == (0, 0))

    play(scenario)


def test_callbacks_that_raise_do_not_stop_the_pool(caplog):
    def bug(*_):
        raise RuntimeError("a bug in the engine")

    def talk(flow_input):
        print("hello")
        return flow_input

    async def scenario(crew):
        def explode(outcome):
            crew._take(outcome)
            bug()

        crew.pool.on_outcome, crew.pool.on_room = explode, bug
        assert [o.output for o in await crew.run(call_of(talk, 1), call_of(talk, 2))] == ["1", "2"]
        assert (await crew.run_one(exit_hard)).reason == "lost"
        await crew.until(lambda: crew.pool.free == 2)

    play(scenario, on_output=bug)
    told = {record.getMessage() for record in caplog.records if "child process" not in record.getMessage()}
    assert told == {"on_outcome failed for step `work`", "on_output failed", "on_room failed"}


def test_a_fork_server_that_dies_with_many_children_under_way_is_one_failed_start_and_not_many(tmp_path, monkeypatch):
    """Three failed starts in a row break a pool; five children of one dead server are one."""
    marker = tmp_path / "slow_to_import.started"
    (tmp_path / "slow_to_import.py").write_text(
        "import time\n"
        "from pathlib import Path\n"
        f"marker = Path({str(marker)!r})\n"
        "if not marker.exists():\n"
        "    marker.touch()\n"
        "    time.sleep(60)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    async def kill_the_server(crew):
        from pgflow_mp.executors.process import launch

        await crew.until(marker.exists)
        (server,) = [s for key, s in launch._servers.items() if key[1] == ("slow_to_import",)]
        os.kill(server._forkserver_pid, signal.SIGKILL)

    async def main():
        crew = Crew(size=5, preload=["slow_to_import"])
        killing = asyncio.create_task(kill_the_server(crew))
        try:
            await asyncio.wait_for(crew.pool.start(), 30)
            await killing
            assert len(crew.pool.pids) == 5
        finally:
            await crew.pool.close(0)

    asyncio.run(main())


@pytest.mark.slow
def test_a_pool_that_has_worked_outlives_starts_that_failed_with_their_fork_server(tmp_path, monkeypatch):
    """So many failed starts in a row break a pool (here: one), but not where the children had no part in them."""
    obstacle = tmp_path / "obstacle"
    started = tmp_path / "started"
    (tmp_path / "sometimes_slow.py").write_text(
        "import time\n"
        "from pathlib import Path\n"
        f"obstacle, started = Path({str(obstacle)!r}), Path({str(started)!r})\n"
        "started.touch()\n"
        "while obstacle.exists():\n"
        "    time.sleep(0.01)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(nursery, "MAX_FAILED_STARTS", 1)

    async def kill_the_server(crew):
        from pgflow_mp.executors.process import launch

        await crew.until(started.exists)
        started.unlink()
        (server,) = [s for key, s in launch._servers.items() if key[1] == ("sometimes_slow",)]
        os.kill(server._forkserver_pid, signal.SIGKILL)

    async def scenario(crew):
        obstacle.touch()
        await kill_the_server(crew)
        (pid,) = crew.pool.pids
        os.kill(pid, signal.SIGKILL)
        await kill_the_server(crew)
        obstacle.unlink()
        assert await crew.output(double, 1) == 2

    play(scenario, size=1, preload=["sometimes_slow"])
