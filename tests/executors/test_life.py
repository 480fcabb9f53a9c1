"""A pool's life: starting, waiting calls, recycling, reloading, closing, and the sudden end of its parent."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pgflow_mp.executors import Completed
from pgflow_mp.executors.process import PoolBroken, ProcessPool, wire
from pgflow_mp.executors.process.pool import usable_cores

from .harness import PATIENCE, Crew, call_of, crew, is_alive, play, wait_until


def pid_of(flow_input):
    return os.getpid()


def nap(flow_input):
    time.sleep(flow_input)
    return flow_input


# Waiting calls -------------------------------------------------------------------------------------------


def test_calls_wait_in_the_parent_and_free_counts_them():
    async def scenario(crew):
        assert (crew.pool.size, crew.pool.free) == (2, 2)
        calls = [call_of(nap, 0.1) for _ in range(5)]
        for call in calls:
            crew.pool.submit(call)
        assert crew.pool.free == -3
        await crew.until(lambda: len(crew.outcomes) == 5)
        assert crew.pool.free == 2
        assert all(isinstance(o, Completed) for o in crew.outcomes)

    play(scenario)


def test_calls_that_wait_too_long_can_be_taken_back_oldest_first():
    async def scenario(crew):
        running, *waiting = [call_of(nap, 0.3) for _ in range(4)]
        crew.pool.submit(running)
        for call in waiting[:2]:
            crew.pool.submit(call)
        await asyncio.sleep(0.1)
        crew.pool.submit(waiting[2])
        assert crew.pool.take_back(0.05) == waiting[:2]
        assert crew.pool.take_back(0.05) == []
        assert crew.pool.take_back(0) == [waiting[2]]
        await crew.until(lambda: crew.outcomes)
        assert [o.call for o in crew.outcomes] == [running]

    play(scenario, size=1)


def test_thousands_of_calls_each_have_one_outcome():
    async def scenario(crew):
        calls = [call_of(lambda flow_input: flow_input + 1, 0)]
        calls = [call_of(calls[0].flow, i) for i in range(3000)]
        outcomes = await crew.run(*calls)
        assert [json.loads(o.output) for o in outcomes] == list(range(1, 3001))
        assert len(crew.outcomes) == 3000

    play(scenario)


def test_two_pools_in_one_process_do_not_disturb_each_other():
    async def main():
        async with crew(size=1) as one, crew(size=1) as two:
            assert await one.output(pid_of) != await two.output(pid_of)
            await one.pool.close(0)
            assert await two.output(nap, 0) == 0

    asyncio.run(main())


def test_children_can_be_spawned_where_there_is_no_fork_server():
    async def scenario(crew):
        assert await crew.output(nap, 0) == 0
        lost = await crew.run_one(lambda: os._exit(9))
        assert lost.error.startswith("Worker process died: exited with code 9")
        assert (await crew.run_one(nap, 9, timeout=0.2)).reason == "timeout"

    play(scenario, method="spawn", size=1)


def test_a_pool_of_nobody_is_refused():
    with pytest.raises(ValueError, match="at least one process"):
        ProcessPool(print, size=0)


def test_the_default_size_is_the_cores_that_may_be_used():
    assert ProcessPool(print).size == usable_cores() >= 1


# Recycling -----------------------------------------------------------------------------------------------


def test_a_child_is_replaced_after_its_number_of_tasks_and_no_task_is_lost():
    async def scenario(crew):
        outcomes = await crew.run(*[call_of(pid_of) for _ in range(20)])
        pids = [json.loads(o.output) for o in outcomes]
        assert all(pids.count(pid) <= 3 for pid in pids)
        assert len(set(pids)) >= 7
        await crew.until(lambda: crew.pool.free == 2 and not any(is_alive(p) for p in set(pids) - {*crew.pool.pids}))

    play(scenario, max_tasks_per_child=3)


def test_a_child_that_has_grown_is_replaced_and_no_task_is_lost():
    def leak(flow_input):
        import builtins

        kept = builtins.__dict__.setdefault("_kept", [])
        kept.append(bytearray(os.urandom(1 << 20)) * 20)
        return os.getpid()

    async def scenario(crew):
        outcomes = await crew.run(*[call_of(leak) for _ in range(16)])
        pids = [json.loads(o.output) for o in outcomes]
        assert len(pids) == 16
        assert 3 <= len(set(pids)) <= 10

    play(scenario, max_memory_per_child=120)


def test_a_child_that_will_not_retire_is_killed(monkeypatch):
    monkeypatch.setattr("pgflow_mp.executors.process.household._RETIRE_TIME", 0.3)

    def stay(flow_input):
        import threading

        threading.Thread(target=time.sleep, args=(60,)).start()
        return os.getpid()

    async def scenario(crew):
        pid = await crew.output(stay)
        assert await crew.output(pid_of) != pid
        await crew.until(lambda: not is_alive(pid))

    play(scenario, size=1, max_tasks_per_child=1)


def test_reload_brings_new_code_and_loses_no_call(tmp_path, monkeypatch):
    module = tmp_path / "reloaded_flow_module.py"
    source = textwrap.dedent(
        """
        import time
        from pgflow_mp.flow import Flow, step
        class Versioned(Flow):
            @step
            def work(flow_input):
                time.sleep(flow_input)
                return VERSION
        VERSION = {}
        """
    )
    module.write_text(source.replace("{}", "1"))
    monkeypatch.syspath_prepend(tmp_path)
    import reloaded_flow_module

    flow = reloaded_flow_module.Versioned.definition

    async def scenario(crew):
        assert await crew.output(flow, 0) == 1
        before = [call_of(flow, 0.3) for _ in range(4)]
        for call in before:
            crew.pool.submit(call)
        module.write_text(source.replace("{}", "22"))
        crew.pool.reload()
        await crew.until(lambda: len(crew.outcomes) == 5)
        assert [o.output for o in crew.outcomes] == ["1"] * 3 + ["22"] * 2
        assert await crew.output(flow, 0) == 22

    try:
        play(scenario, preload=["reloaded_flow_module"])
    finally:
        del sys.modules["reloaded_flow_module"]


# Starting ------------------------------------------------------------------------------------------------


def test_children_that_cannot_start_break_the_pool_with_their_own_words(monkeypatch):
    monkeypatch.setattr("pgflow_mp.executors.process.pool.ProcessPool._settings", lambda _: b"no json")

    async def main():
        with pytest.raises(PoolBroken, match=r"3 in a row(.|\n)*JSONDecodeError"):
            await asyncio.wait_for(Crew(size=2).pool.start(), PATIENCE)

    asyncio.run(main())


def test_a_pool_that_breaks_later_says_so_and_keeps_the_calls(monkeypatch):
    told = []

    async def main():
        members = Crew(size=1, on_broken=told.append)
        await members.pool.start()
        running, waiting = call_of(nap, 30), call_of(nap, 30)
        members.pool.submit(running)
        members.pool.submit(waiting)
        nursery = members.pool._nursery
        nursery._recipe = dataclasses.replace(nursery._recipe, setup=bytes(13))  # an empty SETUP
        os.kill(members.pool.pids[0], signal.SIGKILL)
        await members.until(lambda: told)
        assert [o.call for o in members.outcomes] == [running]
        with pytest.raises(PoolBroken):
            members.pool.submit(call_of(nap, 0))
        assert await members.pool.close(5) == [waiting]

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert isinstance(told[0], PoolBroken)


@pytest.mark.parametrize("refusals", [2, 3])
def test_a_system_without_room_for_a_process_is_asked_again_before_the_pool_breaks(monkeypatch, refusals):
    from pgflow_mp.executors.process import launch

    start, asked = launch.start, []

    def refuse(*args):
        asked.append(args)
        if len(asked) <= refusals:
            raise BlockingIOError("no room for another process")
        return start(*args)

    monkeypatch.setattr(launch, "start", refuse)

    async def main():
        members = Crew(size=1)
        if refusals == 3:
            with pytest.raises(PoolBroken, match="BlockingIOError: no room for another process"):
                await members.pool.start()
        else:
            await members.pool.start()
            assert await members.output(nap, 0) == 0
            await members.pool.close(1)

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert len(asked) == 3


def test_a_child_that_says_nothing_counts_as_dead(monkeypatch):
    half_a_setup = wire.pack(wire.Kind.SETUP, 0, b"{}")[:-1]
    monkeypatch.setattr("pgflow_mp.executors.process.household.wire.pack", lambda *_: half_a_setup)

    async def main():
        with pytest.raises(PoolBroken, match=r"did not report within 0\.2 s"):
            await Crew(size=1, start_timeout=0.2).pool.start()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_calls_may_be_submitted_as_soon_as_there_is_room():
    async def main():
        members = Crew(size=2)

        def fill_up():
            while members.pool.free > 0:
                members.pool.submit(call_of(nap, 0.5))

        members.pool.on_room = fill_up
        await asyncio.wait_for(members.pool.start(), PATIENCE)
        assert members.pool.running == 2
        await members.until(lambda: len(members.outcomes) == 2)
        assert await members.pool.close(1) == []

    asyncio.run(main())


def test_what_cannot_be_preloaded_is_logged_once_and_does_no_harm(tmp_path, monkeypatch, caplog):
    (tmp_path / "bad_preload_module.py").write_text("raise RuntimeError('no such device')")
    monkeypatch.syspath_prepend(tmp_path)

    async def scenario(crew):
        assert await crew.output(nap, 0) == 0

    play(scenario, preload=["bad_preload_module"])
    told = [record.getMessage() for record in caplog.records]
    assert told == ["bad_preload_module in the fork server: it cannot be imported there: RuntimeError: no such device"]


def test_a_preloaded_module_that_starts_a_thread_is_told_of_and_does_not_keep_the_fork_server_alive(
    tmp_path, monkeypatch, caplog
):
    from pgflow_mp.executors.process import launch

    (tmp_path / "threaded_preload_module.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), name='poller').start()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    preload = ("threaded_preload_module",)

    async def scenario(crew):
        assert await crew.output(nap, 0) == 0
        (server,) = [server for key, server in launch._servers.items() if key[1] == preload]
        launch.renew(preload)
        return server._forkserver_pid

    pid = play(scenario, preload=preload)
    wait_until(lambda: not is_alive(pid))
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(
        "threaded_preload_module in the fork server: it starts threads when it is imported (poller); children are"
    )


def test_a_fork_server_that_ends_while_it_imports_is_named_as_the_reason(tmp_path, monkeypatch, capfd):
    (tmp_path / "fatal_preload_module.py").write_text(
        "import os, sys\nprint('no license', file=sys.stderr, flush=True)\nos._exit(1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("pgflow_mp.executors.process.nursery.MAX_FAILED_STARTS", 1)

    async def main():
        with pytest.raises(PoolBroken, match="their fork server ended while it imported fatal_preload_module; what it"):
            await asyncio.wait_for(Crew(size=1, preload=["fatal_preload_module"]).pool.start(), PATIENCE)

    asyncio.run(main())
    assert "no license" in capfd.readouterr().err


def test_preloaded_modules_are_there_before_the_first_task(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def threads_at_import():
        return sys.modules["tests.executors.flows"].THREADS_AT_IMPORT

    async def scenario(crew):
        assert await crew.output(threads_at_import) == "1"

    play(scenario, preload=["tests.executors.flows"])


# What a child finds --------------------------------------------------------------------------------------


def test_a_child_has_the_parents_environment_path_and_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("PGFLOW_TEST_MARK", "set after the fork server started")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)

    def surroundings(flow_input):
        return {
            "mark": os.environ["PGFLOW_TEST_MARK"],
            "threads": [os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]],
            "ours": [name for name in os.environ if "FORKSERVER" in name],
            "path": sys.path,
            "folder": str(Path.cwd()),
            "stdin": sys.stdin.read(),
            "group": os.getpgrp() == os.getpid(),
        }

    async def scenario(crew):
        assert await crew.output(surroundings) == {
            "mark": "set after the fork server started",
            "threads": ["1", "7"],
            "ours": [],
            "path": sys.path,
            "folder": str(tmp_path),
            "stdin": "",
            "group": True,
        }

    play(scenario)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_the_out_of_memory_killer_takes_a_child_before_its_parent():
    def penalty():
        return int(Path("/proc/self/oom_score_adj").read_text())

    assert play(lambda crew: crew.output(penalty)) == min(1000, penalty() + 500)


def test_two_children_draw_different_random_numbers():
    def draw(flow_input):
        import random

        time.sleep(0.1)
        return random.random()

    async def scenario(crew):
        one, two = await crew.run(call_of(draw), call_of(draw))
        assert one.output != two.output

    play(scenario)


# Closing -------------------------------------------------------------------------------------------------


def test_close_lets_running_calls_finish_and_returns_those_that_waited():
    async def scenario(crew):
        short, waiting = call_of(nap, 0.2), call_of(nap, 0)
        crew.pool.submit(short)
        crew.pool.submit(waiting)
        assert await crew.pool.close(5) == [waiting]
        assert [o.call for o in crew.outcomes] == [short]
        with pytest.raises(Exception, match="closing"):
            crew.pool.submit(waiting)

    play(scenario, size=1)


@pytest.mark.slow
def test_close_kills_what_does_not_finish_in_time_and_returns_it():
    async def scenario(crew):
        short, long = call_of(nap, 0.1), call_of(nap, 30)
        crew.pool.submit(short)
        crew.pool.submit(long)
        began = time.monotonic()
        assert await crew.pool.close(2) == [long]
        assert 2 <= time.monotonic() - began < 20
        assert [o.call for o in crew.outcomes] == [short]

    play(scenario)


def test_close_can_be_cut_short_and_repeated():
    async def scenario(crew):
        long = call_of(nap, 30)
        crew.pool.submit(long)
        closing = asyncio.create_task(crew.pool.close(30))
        await asyncio.sleep(0.05)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert await crew.pool.close(0) == [long]
        assert await crew.pool.close(0) == []

    play(scenario)


def test_a_pool_that_was_never_started_can_be_closed():
    async def main():
        pool = ProcessPool(print, size=1)
        call = call_of(nap, 0)
        pool.submit(call)
        assert await pool.close(0) == [call]

    asyncio.run(main())


def open_descriptors():
    return {fd.name for fd in Path("/dev/fd").iterdir()}


def test_a_closed_pool_leaves_no_descriptor_open():
    async def one_life():
        async with crew() as members:
            await members.run_one(lambda: os._exit(1))

    asyncio.run(one_life())  # the fork server and what belongs to it stay
    before = open_descriptors()
    asyncio.run(one_life())
    assert open_descriptors() <= before


# The end of the parent -----------------------------------------------------------------------------------

ORPHANS = """
import asyncio, ctypes, os, signal, subprocess, sys, time
sys.path.insert(0, {root!r})
from tests.executors.harness import call_of, crew

def busy(flow_input):
    while True: pass
def in_c(flow_input):
    ctypes.PyDLL(None).sleep(60)
def deaf(flow_input):
    for number in set(signal.Signals) - {{signal.SIGKILL, signal.SIGSTOP}}:
        signal.signal(number, signal.SIG_IGN)
    while True: time.sleep(1)
def with_programs(flow_input):
    program = subprocess.Popen(["sleep", "60"])
    if os.fork() == 0: time.sleep(60)
    print(program.pid, flush=True)
    program.wait()

async def main():
    show = lambda call, text: print("program", text, flush=True)
    async with crew(size=4, method={method!r}, on_output=show) as members:
        print("children", *members.pool.pids, flush=True)
        for handler in (busy, in_c, deaf, with_programs):
            members.pool.submit(call_of(handler, timeout=60))
        await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_nothing_is_left_when_the_parent_is_killed(method, tmp_path):
    script = tmp_path / "orphans.py"
    script.write_text(ORPHANS.format(root=str(Path(__file__).parents[2]), method=method))
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        told = [parent.stdout.readline().split(), parent.stdout.readline().split()]
        time.sleep(0.3)  # all are in their handlers
        family = descendants(parent.pid)
        parent.kill()
    assert sorted(line[0] for line in told) == ["children", "program"]
    assert len(family) >= 6  # four children, two programs; the fork server too
    assert {int(pid) for line in told for pid in line[1:]} <= family
    wait_until(lambda: not any(is_alive(pid) for pid in family), patience=5)


def descendants(pid):
    """The processes below `pid`; a fork server's children are below the server."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {pid}
    while grown := {child for child, parent in parents.items() if parent in found} - found:
        found |= grown
    return found - {pid}


def test_a_script_without_a_main_guard_does_not_start_itself_again(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import asyncio, sys
            print("started")
            sys.path.insert(0, {str(Path(__file__).parents[2])!r})
            from tests.executors.harness import crew
            from pgflow_mp.flow import Flow, step
            FACTOR = 3
            def times(value):
                return value * FACTOR
            class InMain(Flow):
                @step
                def work(flow_input):
                    return times(flow_input)
            async def main():
                async with crew(size=1) as members:
                    print(await members.output(InMain.definition, 14))
            asyncio.run(main())
            """
        )
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "started\n42\n", "")
    done = subprocess.run(
        [sys.executable, "-"], input=script.read_text(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "started\n42\n", "")


def test_the_executors_are_cheap_to_import():
    code = "import sys, pgflow_mp.executors.process; print({'dill', 'multiprocess', 'psycopg'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout == "set()\n"


def test_a_pool_starts_after_its_modules_were_taken_out_of_the_module_table(tmp_path):
    """As pytester does between the tests of a plugin."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            from tests.executors.harness import play

            before = set(sys.modules)

            async def scenario(crew):
                print(await crew.output(lambda: 1))

            play(scenario)
            for name in set(sys.modules) - before:
                del sys.modules[name]
            play(scenario)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        timeout=3 * PATIENCE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("1\n1\n", 0), done.stderr
