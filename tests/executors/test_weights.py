"""Steps that take several processes."""

from __future__ import annotations

import json
import time

from pgflow_mp import FlowDefinition
from pgflow_mp.executors import Completed

from .harness import call_of, play


def heavy_call(handler, value=None, *, processes=2):
    step = {"slug": "work", "handler": handler, "processes": processes}
    return call_of(FlowDefinition.from_data("heavy", [step]), value)


def span(flow_input):
    began = time.monotonic()
    time.sleep(flow_input)
    return [began, time.monotonic()]


def overlap(one, other):
    (a, b), (c, d) = (json.loads(outcome.output) for outcome in (one, other))
    return a < d and c < b


def test_a_call_that_takes_all_processes_runs_alone():
    async def scenario(crew):
        light, heavy, later = await crew.run(call_of(span, 0.2), heavy_call(span, 0.2), call_of(span, 0.2))
        assert not overlap(light, heavy)
        assert not overlap(heavy, later)

    play(scenario, size=2)


def test_calls_run_side_by_side_as_far_as_their_weights_fit():
    async def scenario(crew):
        outcomes = await crew.run(heavy_call(span, 0.4), call_of(span, 0.4))
        assert overlap(*outcomes)
        assert crew.pool.free == 3

    play(scenario, size=3)


def test_a_call_that_is_heavier_than_the_pool_takes_all_of_it():
    async def scenario(crew):
        [outcome] = await crew.run(heavy_call(span, 0, processes=50))
        assert isinstance(outcome, Completed)

    play(scenario)


def test_a_heavy_call_may_wait_longer_than_those_behind_it_but_not_for_ever(monkeypatch):
    async def scenario(crew):
        running, heavy, behind = call_of(span, 1), heavy_call(span, 0), call_of(span, 0)
        for call in (running, heavy, behind):
            crew.pool.submit(call)
        time.sleep(0.1)  # noqa: ASYNC251 - nothing may start meanwhile
        assert crew.pool.take_back(0.05) == [behind]
        monkeypatch.setattr("pgflow_mp.executors.process.pool.RESERVE_SECONDS", 0.05)
        assert crew.pool.take_back(0.05) == [heavy]

    play(scenario, size=2)


def test_a_child_that_dies_under_a_heavy_call_frees_all_its_processes():
    def die():
        import os

        os._exit(3)

    async def scenario(crew):
        [lost] = await crew.run(heavy_call(die))
        assert lost.reason == "lost"
        await crew.until(lambda: crew.pool.free == 2)

    play(scenario, size=2)
