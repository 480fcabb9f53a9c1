"""Steps in threads of the worker's own process: what holds there, and what cannot."""

from __future__ import annotations

import asyncio
import contextvars
import json
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from pgflow_mp.executors import Completed
from pgflow_mp.executors.thread import ThreadExecutor

from .harness import PATIENCE, Crew, call_of

LOCAL = contextvars.ContextVar("LOCAL", default="untouched")


def _without_output(take, *, on_output, **options):
    return ThreadExecutor(take, **options)


def in_threads(scenario, **options):
    async def main():
        crew = Crew(pool=_without_output, **options)
        await crew.pool.start()
        try:
            return await scenario(crew)
        finally:
            await crew.pool.close(0)

    return asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_calls_run_side_by_side_in_this_process():
    barrier = threading.Barrier(3, timeout=PATIENCE)

    def meet():
        barrier.wait()
        return threading.get_ident()

    async def scenario(crew):
        outcomes = await crew.run(*(call_of(meet) for _ in range(3)))
        assert len({outcome.output for outcome in outcomes}) == 3

    in_threads(scenario, size=3)


def test_with_one_thread_calls_run_one_after_the_other():
    running = []

    def alone():
        running.append(1)
        time.sleep(0.02)
        return len(running) if not running.pop() else running

    async def scenario(crew):
        calls = [call_of(alone) for _ in range(5)]
        for call in calls:
            crew.pool.submit(call)
        assert (crew.pool.size, crew.pool.running, crew.pool.free) == (1, 1, -4)
        await crew.until(lambda: len(crew.outcomes) == 5)
        assert [outcome.call for outcome in crew.outcomes] == calls
        assert all(json.loads(outcome.output) == [] for outcome in crew.outcomes)

    in_threads(scenario, size=1)


def test_threads_are_used_again_and_context_variables_are_not():
    def write(flow_input):
        before = LOCAL.get()
        LOCAL.set(flow_input)
        return [before, threading.get_ident()]

    async def scenario(crew):
        first, second = [await crew.output(write, n) for n in range(2)]
        assert first[0] == second[0] == "untouched"
        assert first[1] == second[1]

    in_threads(scenario)


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_whatever_a_handler_raises_is_its_failure(error):
    def broken():
        raise error

    async def scenario(crew):
        failed = await crew.run_one(broken)
        assert failed.reason == "raised"
        assert failed.error.startswith(type(error).__name__)
        assert failed.exception is None

    in_threads(scenario)


def test_an_async_handler_runs_in_a_loop_of_its_own():
    async def wait():
        await asyncio.sleep(0.01)
        return threading.current_thread() is threading.main_thread()

    async def scenario(crew):
        assert await crew.output(wait) is False

    in_threads(scenario)


def test_a_call_past_its_time_fails_with_its_line_and_its_thread_is_abandoned_and_counted():
    release = threading.Event()

    def hang():
        release.wait(PATIENCE)

    async def scenario(crew):
        failed = await crew.run_one(hang, timeout=0.2)
        assert failed.reason == "timeout"
        assert failed.error.startswith("Task timed out after 0.2s\n")
        assert "in hang" in failed.error
        assert (crew.pool.abandoned, crew.pool.running, crew.pool.free) == (1, 0, 1)
        assert await crew.output(lambda: "next") == "next"
        release.set()
        await crew.until(lambda: crew.pool.abandoned == 0)
        assert len(crew.outcomes) == 2, "what the late handler returned is dropped"

    in_threads(scenario, size=1)


def test_what_was_not_started_comes_back_and_closing_returns_what_does_not_finish():
    release = threading.Event()

    async def scenario(crew):
        calls = [call_of(lambda: release.wait(PATIENCE)) for _ in range(3)]
        for call in calls:
            crew.pool.submit(call)
        assert crew.pool.take_back(0) == calls[1:]
        assert await crew.pool.close(0.05) == calls[:1]
        release.set()

    in_threads(scenario, size=1)


def test_closing_lets_calls_finish_for_the_grace():
    async def scenario(crew):
        call = call_of(lambda: time.sleep(0.2))
        crew.pool.submit(call)
        assert await crew.pool.close(PATIENCE) == []
        assert isinstance(crew.outcomes[0], Completed)

    in_threads(scenario)


def test_an_abandoned_thread_never_keeps_the_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio, time
            from pgflow_mp.executors.thread import ThreadExecutor
            from tests.executors.harness import call_of

            async def main():
                over = asyncio.Event()
                threads = ThreadExecutor(lambda outcome: over.set())
                await threads.start()
                threads.submit(call_of(lambda: time.sleep(3600), timeout=0.2))
                await over.wait()
                await threads.close(0)

            asyncio.run(main())
            print("ended")
            """
        )
    )
    done = subprocess.run([sys.executable, script], env={"PYTHONPATH": ":".join(sys.path)}, timeout=PATIENCE,
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout == "ended\n"
