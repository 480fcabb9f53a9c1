"""Where a worker looks for work: everywhere, or where some was announced."""

from __future__ import annotations

import pytest

from pgflow_mp import Flow, step
from pgflow_mp.client import PgFlow
from pgflow_mp.engine.link import Link
from pgflow_mp.engine.lookout import Lookout
from pgflow_mp.engine.sources import sources_of
from tests.engine import flows
from tests.engine.harness import eventually, working


class One(Flow):
    @step
    def work(): ...


class Two(Flow):
    @step
    def work(): ...

    @step(concurrency=1)
    def few(): ...


ALL = [source for flow in (One, Two) for source in sources_of(flow.definition)]


def slugs(sources):
    return [source.flow_slug for source in sources]


@pytest.fixture
def lookout():
    """Has looked everywhere; the next time is far away."""
    lookout = Lookout(interval=3600)
    assert lookout.choose(ALL) == ALL
    return lookout


def test_what_was_announced_is_looked_into_and_nothing_else(lookout):
    lookout.announced(["two"])
    assert slugs(lookout.choose(ALL)) == ["two", "two"]


def test_an_announcement_counts_once(lookout):
    lookout.announced(["one"])
    lookout.choose(ALL)
    lookout.announced(["two"])
    assert slugs(lookout.choose(ALL)) == ["two", "two"]


def test_without_an_announcement_the_look_goes_everywhere(lookout):
    assert lookout.choose(ALL) == ALL


def test_another_cause_makes_the_look_go_everywhere_once(lookout):
    lookout.everywhere()
    lookout.announced(["one"])
    assert lookout.choose(ALL) == ALL
    lookout.announced(["one"])
    assert slugs(lookout.choose(ALL)) == ["one"]


def test_announcements_of_one_flow_keep_no_other_one_out():
    lookout = Lookout(interval=0)
    lookout.announced(["one"])
    assert lookout.choose(ALL) == ALL
    lookout.announced(["one"])
    assert lookout.choose(ALL) == ALL


def test_an_announcement_for_nobody_here_is_no_reason_to_look_less(lookout):
    lookout.announced(["three"])
    assert lookout.choose(ALL) == ALL


def test_a_job_on_an_idle_system_is_looked_for_in_its_own_queue(pgflow_dsn, monkeypatch):
    asked = []
    run = Link.run

    async def listening(self, statement):
        if "claim_tasks" in statement.sql:
            asked.append(statement.params[0])
        return await run(self, statement)

    monkeypatch.setattr(Link, "run", listening)
    with PgFlow(pgflow_dsn) as app:
        app.compile(flows.Echo)
        app.compile(flows.Sums)
        with working(pgflow_dsn, flows.Echo, flows.Sums, poll_interval=60) as worker:
            eventually(lambda: worker._listener.hears)
            app.start_flow_sync(flows.Echo, [0], timeout=30)
            asked.clear()
            for n in range(3):
                app.start_flow_sync(flows.Echo, [n], timeout=30)
        assert asked.count('{"echo"}') >= 3
        assert len(asked) <= 5
