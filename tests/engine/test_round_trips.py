"""What a job costs in round trips: on an idle system one claim and one settle, and no look for what is not there.

And a caller that waits for it: one to listen, one to start, one to read the result and listen no more.
"""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.proxy import proxy
from pgflow_mp.client import PgFlow
from pgflow_mp.engine.link import Link
from tests.engine import flows
from tests.engine.harness import eventually, working

JOBS = 20


@pytest.fixture
def app(pgflow_dsn):
    with PgFlow(pgflow_dsn) as app:
        yield app


@pytest.fixture
def said(monkeypatch):
    """Count statements by what they call."""
    counts: Counter[str] = Counter()
    run = Link.run

    async def counting(self, statement):
        counts.update([next((name for name in ("claim_tasks", "settle_tasks") if name in statement.sql), "others")])
        return await run(self, statement)

    monkeypatch.setattr(Link, "run", counting)
    return counts


def test_a_job_on_an_idle_system_costs_one_claim_and_one_settle(app, pgflow_dsn, said):
    app.compile(flows.Echo)
    with working(pgflow_dsn, flows.Echo, poll_interval=60) as worker:
        eventually(lambda: worker._listener.hears)
        app.start_flow_sync(flows.Echo, [0], timeout=30)
        said.clear()
        for n in range(JOBS):
            app.start_flow_sync(flows.Echo, [n], timeout=30)
        assert said["settle_tasks"] == JOBS
        assert JOBS <= said["claim_tasks"] <= JOBS + 3
        assert said["others"] < JOBS, "what comes with time (beats, looks after the dead), and nothing with a job"


def test_a_caller_that_waits_makes_three_round_trips_for_a_job(app, pgflow_dsn):
    app.compile(flows.Echo)
    with proxy(pgflow_dsn) as between, PgFlow(between.dsn) as far, working(pgflow_dsn, flows.Echo):
        far.start_flow_sync(flows.Echo, [0], timeout=30)
        before = between.round_trips
        for n in range(JOBS):
            assert far.start_flow_sync(flows.Echo, [n], timeout=30, poll_interval=20).completed
        assert between.round_trips - before == 3 * JOBS


def test_steps_follow_each_other_without_a_poll(app, pgflow_dsn, said):
    app.compile(flows.Sums)
    app.compile(flows.Pids)
    with working(pgflow_dsn, flows.Sums, flows.Pids, poll_interval=60) as worker:
        eventually(lambda: worker._listener.hears)
        runs = [app.start_flow(flows.Sums, {"count": 30}) for _ in range(5)]
        runs += [app.start_flow(flows.Pids, list(range(20))) for _ in range(2)]
        eventually(lambda: all(app.get_run(run).completed for run in runs))


def test_many_tasks_share_a_claim_and_a_settle(app, pgflow_dsn, said):
    app.compile(flows.Echo)
    with working(pgflow_dsn, flows.Echo):
        app.start_flow_sync(flows.Echo, list(range(10)), timeout=30)
        said.clear()
        app.start_flow_sync(flows.Echo, list(range(1000)), timeout=60)
        assert said["claim_tasks"] + said["settle_tasks"] < 500
        assert said["others"] < 100
