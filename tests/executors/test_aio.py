"""Async steps: many in one loop, each with a deadline of its own, none at the mercy of its neighbours."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import time
from dataclasses import replace

import pytest

from pgflow_mp.executors import Completed, Failed
from pgflow_mp.executors.aio import LoopPool

from .harness import call_of, crew, is_alive, play


def in_a_loop(scenario, **options):
    return play(scenario, pool=LoopPool, **options)


async def nap(flow_input):
    await asyncio.sleep(flow_input)
    return [os.getpid(), flow_input]


async def hang():
    await asyncio.sleep(3600)


async def block(flow_input):
    await asyncio.sleep(0)
    time.sleep(flow_input)  # noqa: ASYNC251


async def mark(flow_input):
    """Leaves a line when it begins, then waits."""
    with open(flow_input["file"], "a") as file:  # noqa: ASYNC230, PTH123
        file.write(f"{os.getpid()}\n")
    await asyncio.sleep(flow_input["seconds"])
    return "done"


# ---- many at a time --------------------------------------------------------------------------


def test_a_hundred_tasks_that_wait_a_second_share_one_loop():
    async def scenario(crew):
        began = time.monotonic()
        nap_of_one_flow = call_of(nap, 1)
        outcomes = await crew.run(*(replace(nap_of_one_flow, task_index=index) for index in range(100)))
        return time.monotonic() - began, outcomes

    seconds, outcomes = in_a_loop(scenario)
    assert all(isinstance(outcome, Completed) for outcome in outcomes)
    assert len({json.loads(outcome.output)[0] for outcome in outcomes}) == 1
    assert seconds < 10  # one after the other: 100


def test_no_more_run_at_a_time_than_the_loop_takes():
    async def scenario(crew):
        calls = [call_of(nap, 0.2) for _ in range(5)]
        for call in calls:
            crew.pool.submit(call)
        assert (crew.pool.size, crew.pool.running, crew.pool.free) == (3, 3, -2)
        await crew.until(lambda: len(crew.outcomes) == 5)
        assert crew.pool.free == 3

    in_a_loop(scenario, tasks_per_loop=3)


def test_loops_share_the_tasks():
    async def scenario(crew):
        outcomes = await crew.run(*(call_of(nap, 0.05) for _ in range(6)))
        assert len({json.loads(outcome.output)[0] for outcome in outcomes}) == 2

    in_a_loop(scenario, loops=2)


def test_what_was_not_started_comes_back():
    async def scenario(crew):
        calls = [call_of(hang) for _ in range(3)]
        for call in calls:
            crew.pool.submit(call)
        assert crew.pool.take_back(0) == calls[1:]

    in_a_loop(scenario, tasks_per_loop=1)


def test_each_task_has_context_variables_of_its_own():
    async def write(flow_input):
        from tests.executors.flows import LOCAL

        before = LOCAL.get()
        LOCAL.set(flow_input)
        await asyncio.sleep(0.05)
        return [before, LOCAL.get()]

    async def scenario(crew):
        outcomes = await crew.run(*(call_of(write, n) for n in range(5)))
        assert [json.loads(outcome.output) for outcome in outcomes] == [["untouched", n] for n in range(5)]

    in_a_loop(scenario)


def test_tasks_within_a_task_work_as_anywhere():
    async def fan_out():
        async def square(n):
            await asyncio.sleep(0.01)
            return n * n

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(square(n)) for n in range(4)]
        in_thread = await asyncio.to_thread(lambda: 7)
        return [*(task.result() for task in tasks), *await asyncio.gather(square(5), square(6)), in_thread]

    async def scenario(crew):
        assert await crew.output(fan_out) == [0, 1, 4, 9, 25, 36, 7]

    in_a_loop(scenario)


# ---- how tasks fail --------------------------------------------------------------------------


def test_what_a_coroutine_raises_fails_its_task_with_a_traceback_that_starts_at_it():
    async def broken():
        await asyncio.sleep(0)
        raise ValueError("no good")

    async def scenario(crew):
        failed = await crew.run_one(broken)
        assert isinstance(failed, Failed)
        lines = failed.error.splitlines()
        assert lines[0] == "ValueError: no good"
        assert "test_aio.py" in lines[2]
        assert failed.retryable

    in_a_loop(scenario)


@pytest.mark.parametrize(
    "error", ["SystemExit(3)", "KeyboardInterrupt()", "asyncio.CancelledError()", "NonRetryable()"]
)
def test_an_exception_of_any_kind_ends_its_own_task_only(error):
    async def inner(text):
        import pgflow_mp

        raise eval(text, {"asyncio": asyncio, **vars(pgflow_mp)})

    async def broken(flow_input):
        await asyncio.create_task(inner(flow_input))

    async def scenario(crew):
        neighbour = call_of(nap, 0.3)
        crew.pool.submit(neighbour)
        failed = await crew.run_one(broken, error)
        assert failed.reason == "raised"
        assert failed.error.startswith(error.partition("(")[0].removeprefix("asyncio."))
        assert failed.retryable is not error.startswith("NonRetryable")
        await crew.until(lambda: len(crew.outcomes) == 2)
        assert isinstance(crew.outcomes[1], Completed)

    in_a_loop(scenario)


def test_an_output_that_is_no_json_says_where():
    async def bad():
        return {"rows": [1, {2}]}

    async def scenario(crew):
        failed = await crew.run_one(bad)
        assert failed.reason == "output"
        assert "$.rows[1]" in failed.error

    in_a_loop(scenario)


# ---- deadlines -------------------------------------------------------------------------------


def test_a_task_past_its_time_is_cancelled_and_its_neighbours_are_not():
    async def scenario(crew):
        neighbours = [call_of(nap, 1.2) for _ in range(5)]
        for call in neighbours:
            crew.pool.submit(call)
        [pid] = crew.pool.pids
        failed = await crew.run_one(hang, timeout=0.3)
        assert failed.reason == "timeout"
        assert failed.retryable
        lines = failed.error.splitlines()
        assert lines[0] == "Task timed out after 0.3s"
        assert any("test_aio.py" in line and line.endswith("in hang") for line in lines)
        await crew.until(lambda: len(crew.outcomes) == 6)
        assert {json.loads(outcome.output)[0] for outcome in crew.outcomes[1:]} == {pid}

    in_a_loop(scenario)


def test_the_stack_names_the_innermost_line_and_those_of_tasks_within():
    async def deep():
        await asyncio.sleep(3600)

    async def deeper():
        await deep()

    async def group():
        await asyncio.gather(deeper(), deep())

    async def scenario(crew):
        failed = await crew.run_one(group, timeout=0.2)
        text = failed.error
        assert text.index(" in group") < text.index("and, in a task that it has started:")
        assert text.count(" in deep\n") + text.endswith(" in deep") == 2 or text.count(" in deep") >= 2
        assert text.index(" in deep") < text.index(" in deeper")
        assert "pgflow_mp" not in text

    in_a_loop(scenario)


def test_a_task_cleans_up_before_it_is_reported_and_what_it_started_ends_with_it(tmp_path):
    log = tmp_path / "log"

    async def child(log):
        try:
            await asyncio.sleep(3600)
        finally:
            with open(log, "a") as file:  # noqa: ASYNC230, PTH123
                file.write("child ended\n")

    async def parent(flow_input):
        left = asyncio.create_task(child(flow_input))
        try:
            await asyncio.wait([left])  # which does not cancel what it waits for
        finally:
            await asyncio.sleep(0.1)
            with open(flow_input, "a") as file:  # noqa: ASYNC230, PTH123
                file.write("parent ended\n")

    async def scenario(crew):
        failed = await crew.run_one(parent, str(log), timeout=0.2)
        assert failed.reason == "timeout"
        assert sorted(log.read_text().splitlines()) == ["child ended", "parent ended"]

    in_a_loop(scenario)


def test_what_a_task_leaves_running_when_it_returns_goes_on():
    async def leave():
        async def later():
            await asyncio.sleep(0.2)
            return "later"

        asyncio.get_running_loop().left = asyncio.create_task(later())

    async def fetch():
        return await asyncio.get_running_loop().left

    async def scenario(crew):
        assert await crew.output(leave) is None
        assert await crew.output(fetch) == "later"

    in_a_loop(scenario)


@pytest.mark.slow
def test_a_coroutine_that_ignores_its_cancellation_fails_in_time_and_its_child_goes_when_the_others_are_through():
    async def stubborn():
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)

    async def scenario(crew):
        [pid] = crew.pool.pids
        neighbour = call_of(nap, 2)
        crew.pool.submit(neighbour)
        began = time.monotonic()
        failed = await crew.run_one(stubborn, timeout=0.3)
        assert failed.error.startswith("Task timed out after 0.3s\n")
        assert time.monotonic() - began < 5
        assert (await crew.output(nap, 0))[0] != pid, "a new child takes what comes"
        await crew.until(lambda: len(crew.outcomes) == 3)
        assert json.loads(crew.outcomes[2].output)[0] == pid
        await crew.until(lambda: not is_alive(pid))

    in_a_loop(scenario)


# ---- a loop that is blocked ------------------------------------------------------------------


def test_a_blocked_loop_is_killed_and_its_other_tasks_begin_again_elsewhere(tmp_path, caplog):
    log = tmp_path / "log"

    async def scenario(crew):
        [pid] = crew.pool.pids
        others = [call_of(mark, {"file": str(log), "seconds": 0.5}, timeout=30) for _ in range(3)]
        for call in others:
            crew.pool.submit(call)
        await crew.until(lambda: log.exists() and len(log.read_text().splitlines()) == 3)
        failed = await crew.run_one(block, 3600, timeout=1)
        assert failed.reason == "timeout"
        assert failed.error.startswith("Task timed out after 1s\n")
        assert " in block" in failed.error
        assert "pgflow_mp" not in failed.error
        await crew.until(lambda: len(crew.outcomes) == 4)
        assert all(isinstance(outcome, Completed) for outcome in crew.outcomes if outcome is not failed)
        assert not is_alive(pid)
        running = f"running single.work[0] of run {failed.call.run_id} and 3 other tasks"
        told = [record.getMessage() for record in caplog.records]
        assert told == [f"child process {pid}, {running}: killed: its event loop was blocked"]

    in_a_loop(scenario)


@pytest.mark.slow
def test_the_task_that_blocks_is_to_blame_and_not_the_one_whose_time_is_up():
    async def scenario(crew):
        innocent = call_of(nap, 0.5, timeout=1)
        guilty = call_of(block, 3600, timeout=600)
        crew.pool.submit(innocent)
        crew.pool.submit(guilty)
        await crew.until(lambda: len(crew.outcomes) == 2)
        found = {outcome.call: outcome for outcome in crew.outcomes}
        assert isinstance(found[innocent], Completed)
        assert found[guilty].error.startswith("Task blocked its event loop")
        assert " in block" in found[guilty].error

    in_a_loop(scenario)


@pytest.mark.slow
def test_a_loop_stopped_from_outside_is_killed_too():
    async def scenario(crew):
        [pid] = crew.pool.pids
        call = call_of(nap, 0.2, timeout=0.5)
        crew.pool.submit(call)
        os.kill(pid, signal.SIGSTOP)
        await crew.until(lambda: crew.outcomes)
        assert crew.outcomes[0].error.startswith("Task timed out after 0.5s")
        assert (await crew.output(nap, 0))[0] != pid

    in_a_loop(scenario)


def test_a_call_that_was_claimed_too_long_ago_goes_back_instead(monkeypatch):
    monkeypatch.setattr("pgflow_mp.executors.aio.pool.REDO_SECONDS", 0.0)

    async def scenario(crew):
        innocent = call_of(nap, 3600, timeout=600)
        crew.pool.submit(innocent)
        await crew.run_one(block, 3600, timeout=0.5)
        assert crew.pool.take_back(60) == [innocent]

    in_a_loop(scenario)


# ---- children that die -----------------------------------------------------------------------


def test_a_task_that_kills_its_child_fails_and_its_neighbours_begin_again():
    async def die():
        await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGSEGV)

    async def scenario(crew):
        neighbours = [call_of(nap, 0.5) for _ in range(3)]
        for call in neighbours:
            crew.pool.submit(call)
        failed = await crew.run_one(die)
        assert failed.reason == "lost"
        assert failed.error.startswith("Worker process died: segmentation fault")
        await crew.until(lambda: len(crew.outcomes) == 4)
        assert sum(isinstance(outcome, Completed) for outcome in crew.outcomes) == 3

    in_a_loop(scenario)


def test_tasks_whose_children_are_killed_while_nobodys_code_runs_end_after_three_times():
    async def scenario(crew):
        call = call_of(hang, timeout=60)
        crew.pool.submit(call)
        killed = set()
        while not crew.outcomes:
            await crew.until(lambda: crew.outcomes or (crew.pool.running and set(crew.pool.pids) - killed))
            for pid in set(crew.pool.pids) - killed:
                await asyncio.sleep(0.2)  # until the task waits
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        assert len(killed) == 3
        assert crew.outcomes[0].error.startswith("Worker process died: 3 times in a row")

    in_a_loop(scenario)


def test_a_child_is_replaced_after_so_many_tasks_and_loses_none():
    async def scenario(crew):
        outcomes = await crew.run(*(call_of(nap, 0.02) for _ in range(40)))
        assert all(isinstance(outcome, Completed) for outcome in outcomes)
        assert len({json.loads(outcome.output)[0] for outcome in outcomes}) > 1

    in_a_loop(scenario, max_tasks_per_child=10, tasks_per_loop=5)


def test_a_reload_lets_running_tasks_finish_and_brings_a_fresh_child():
    async def scenario(crew):
        [old] = crew.pool.pids
        call = call_of(nap, 0.5)
        crew.pool.submit(call)
        crew.pool.reload()
        assert (await crew.output(nap, 0))[0] != old
        await crew.until(lambda: len(crew.outcomes) == 2)
        [outcome] = [outcome for outcome in crew.outcomes if outcome.call is call]
        assert json.loads(outcome.output)[0] == old
        await crew.until(lambda: not is_alive(old))

    in_a_loop(scenario)


def test_closing_lets_tasks_finish_for_the_grace_and_returns_the_rest():
    async def scenario():
        async with crew(pool=LoopPool) as members:
            quick, slow = call_of(nap, 0.3), call_of(hang, timeout=60)
            members.pool.submit(quick)
            members.pool.submit(slow)
            assert await members.pool.close(1.0) == [slow]
            assert [outcome.call for outcome in members.outcomes] == [quick]

    asyncio.run(scenario())


# ---- what tasks say --------------------------------------------------------------------------


def test_what_tasks_print_at_the_same_time_is_told_apart():
    async def chat(flow_input):
        for word in ("one", "two"):
            print(f"{flow_input} says {word}", end="\n" if word == "two" else " ... ")
            await asyncio.sleep(0.02)
        await asyncio.to_thread(print, f"{flow_input} from a thread")
        print(flow_input, "without an end", end="")

    async def scenario(crew):
        calls = [call_of(chat, name) for name in ("ann", "bob")]
        await crew.run(*calls)
        for call, name in zip(calls, ("ann", "bob"), strict=True):
            printed = "".join(text for owner, text in crew.printed if owner is call)
            assert printed == f"{name} says one ... {name} says two\n{name} from a thread\n{name} without an end"

    in_a_loop(scenario)


def test_a_task_that_prints_without_end_is_cut_off():
    async def flood():
        for _ in range(3000):
            print("x" * 100)

    async def scenario(crew):
        await crew.run_one(flood)
        text = "".join(text for _, text in crew.printed)
        assert len(text) < 100_000
        assert "more than 64 kB printed by one task" in text

    in_a_loop(scenario)


def test_log_records_carry_their_task(caplog):
    async def talk(flow_input, ctx):
        await asyncio.sleep(0.01)
        logging.getLogger("shop").warning("hello from %s", flow_input)
        ctx.logger.warning("attempt %d", ctx.attempt)

    async def scenario(crew):
        calls = [call_of(talk, n, index=n) for n in range(3)]
        await crew.run(*calls)
        found = {record.getMessage(): record for record in caplog.records if record.name == "shop"}
        for call in calls:
            record = found[f"hello from {call.task_index}"]
            assert (record.run_id, record.task_index) == (call.run_id, call.task_index)

    in_a_loop(scenario)
