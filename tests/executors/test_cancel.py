"""Calls whose result is not wanted any more: ended where they run, dropped where they wait, others left alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from pathlib import Path

import pytest

from pgflow_mp.executors import Completed
from pgflow_mp.executors.aio import LoopPool
from pgflow_mp.executors.thread import ThreadExecutor

from .harness import Crew, call_of, is_alive, play


def say(words, path):
    Path(path).write_text(words)


def note(flow_input):
    """Tells its process, then sleeps."""
    say(str(os.getpid()), flow_input)
    time.sleep(3600)


def quick():
    return "done"


async def clean_up(flow_input):
    """Tells how it began and ended."""
    say("began", flow_input)
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError as error:
        say(f"ended: {error}", flow_input)
        raise


async def ignore(flow_input):
    """Catches its cancellation and goes on."""
    say("began", flow_input)
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


async def block(flow_input):
    """Keeps its loop from doing anything else."""
    say("began", flow_input)
    time.sleep(3600)  # noqa: ASYNC251


async def nap():
    await asyncio.sleep(0.6)
    return "done"


async def begin(crew, call, file):
    """Submit a call and wait until its handler has begun."""
    crew.pool.submit(call)
    await crew.until(lambda: file.exists() and file.read_text())


def cancelled(outcome, call):
    return outcome.call is call and (outcome.reason, outcome.retryable) == ("cancelled", False)


def test_the_child_of_a_cancelled_call_is_killed_and_replaced(tmp_path, caplog):
    file = tmp_path / "pid"

    async def scenario(crew):
        call = call_of(note, str(file))
        await begin(crew, call, file)
        assert crew.pool.calls() == [call]
        crew.pool.cancel(call)
        crew.pool.cancel(call)
        await crew.until(lambda: len(crew.outcomes) == 1)
        assert cancelled(crew.outcomes[0], call)
        await crew.until(lambda: not is_alive(int(file.read_text())))
        assert await crew.output(quick) == "done"
        crew.pool.cancel(call)
        assert len(crew.outcomes) == 2
        assert crew.pool.calls() == []
        assert not caplog.records, "this is no reason for a warning"

    play(scenario, size=1)


def test_a_cancelled_call_that_waits_never_starts(tmp_path):
    file = tmp_path / "never"

    async def scenario(crew):
        running, waiting, behind = call_of(nap), call_of(note, str(file)), call_of(quick)
        for call in (running, waiting, behind):
            crew.pool.submit(call)
        assert set(crew.pool.calls()) == {running, waiting, behind}
        crew.pool.cancel(waiting)
        await crew.until(lambda: len(crew.outcomes) == 3)
        assert cancelled(crew.outcomes[0], waiting)
        assert [outcome.call for outcome in crew.outcomes[1:]] == [running, behind]
        assert not file.exists()

    play(scenario, size=1)


def test_a_coroutine_is_cancelled_cleans_up_and_its_neighbour_goes_on(tmp_path):
    file = tmp_path / "said"

    async def scenario(crew):
        neighbour, call = call_of(nap), call_of(clean_up, str(file))
        crew.pool.submit(neighbour)
        await begin(crew, call, file)
        [pid] = crew.pool.pids
        crew.pool.cancel(call)
        await crew.until(lambda: len(crew.outcomes) == 2)
        assert cancelled(crew.outcomes[0], call)
        assert isinstance(crew.outcomes[1], Completed)
        assert file.read_text() == "ended: the run was cancelled"
        assert crew.pool.pids == [pid]

    play(scenario, pool=LoopPool)


@pytest.mark.slow
def test_a_coroutine_that_ignores_its_cancellation_is_reported_and_ended(tmp_path):
    file = tmp_path / "said"

    async def scenario(crew):
        call = call_of(ignore, str(file))
        await begin(crew, call, file)
        [pid] = crew.pool.pids
        crew.pool.cancel(call)
        await crew.until(lambda: len(crew.outcomes) == 1)
        assert cancelled(crew.outcomes[0], call)
        await crew.until(lambda: not is_alive(pid))

    play(scenario, pool=LoopPool)


@pytest.mark.slow
def test_a_loop_that_is_blocked_is_killed_and_its_neighbour_begins_again(tmp_path):
    file = tmp_path / "said"

    async def scenario(crew):
        neighbour, call = call_of(nap), call_of(block, str(file))
        crew.pool.submit(neighbour)
        await begin(crew, call, file)
        [pid] = crew.pool.pids
        crew.pool.cancel(call)
        await crew.until(lambda: len(crew.outcomes) == 2)
        assert crew.outcomes[0].call is call
        assert isinstance(crew.outcomes[1], Completed)
        assert not is_alive(pid)

    play(scenario, pool=LoopPool)


def test_a_thread_is_told_and_what_waits_for_it_never_starts():
    began = threading.Event()

    def patient(ctx):
        began.set()
        while not ctx.cancelled:
            time.sleep(0.005)
        return "told"

    async def scenario(crew):
        running, waiting = call_of(patient), call_of(quick)
        crew.pool.submit(running)
        crew.pool.submit(waiting)
        await crew.until(began.is_set)
        assert crew.pool.calls() == [running, waiting]
        crew.pool.cancel(waiting)
        crew.pool.cancel(running)
        await crew.until(lambda: len(crew.outcomes) == 2)
        assert cancelled(crew.outcomes[0], waiting)
        assert crew.outcomes[1].output == '"told"'
        assert await crew.output(quick) == "done"

    def threads(take, *, on_output, **options):
        return ThreadExecutor(take, **options)

    async def main():
        crew = Crew(pool=threads, size=1)
        await crew.pool.start()
        await scenario(crew)
        await crew.pool.close(0)

    asyncio.run(asyncio.wait_for(main(), 20))
