"""Steps that another worker takes are not claimed for a while, and nothing else is passed over."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pgflow_mp.engine.passing import PASS_SECONDS, Passing
from pgflow_mp.engine.sources import sources_of
from tests.engine.executor_flows import Few, Limited


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("pgflow_mp.engine.passing.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def task(flow_slug, step_slug):
    return SimpleNamespace(flow_slug=flow_slug, step_slug=step_slug)


def filters(passing, flow):
    return [passing.filter_of(source) for source in sources_of(flow.definition)]


def test_a_step_is_left_to_others_for_a_while(clock):
    passing = Passing()
    usual, few = filters(passing, Limited), filters(passing, Few)
    passing.over([task("limited", "theirs"), task("limited", "theirs"), task("other", "not_here")])
    rest, *limited = filters(passing, Limited)
    assert set(rest.removeprefix("-").split(",")) == {"theirs", *usual[0].removeprefix("-").split(",")}
    assert limited == usual[1:]
    assert filters(passing, Few) == few
    clock.now += PASS_SECONDS
    assert filters(passing, Limited) == usual


def test_a_flow_of_steps_that_are_all_alike_has_a_filter_meanwhile(clock):
    passing = Passing()
    assert filters(passing, Few) == [None]
    passing.over([task("few", "theirs")])
    assert filters(passing, Few) == ["-theirs"]
