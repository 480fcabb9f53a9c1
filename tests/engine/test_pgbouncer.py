"""A worker behind a pooler in transaction mode."""

from __future__ import annotations

import time

import pytest

from pgflow_mp.client import PgFlow
from pgflow_mp.engine import listen
from tests.engine import flows
from tests.engine.harness import eventually, working
from tests.engine.pooler import pgbouncer


@pytest.fixture
def app(pgflow_dsn):
    with PgFlow(pgflow_dsn) as app:
        app.compile(flows.Sums)
        app.compile(flows.Flaky)
        yield app


@pytest.fixture
def pooled(pgflow_dsn):
    with pgbouncer(pgflow_dsn) as dsn:
        yield dsn


def test_a_worker_behind_a_pooler_finds_its_work_by_polling_and_says_why(app, pooled, monkeypatch, caplog):
    monkeypatch.setattr(listen, "ECHO_SECONDS", 1.0)
    with working(pooled, flows.Sums, flows.Flaky, poll_interval=0.1):
        sums = app.start_flows(flows.Sums, [{"count": n} for n in range(30)])
        flaky = app.start_flow(flows.Flaky)
        eventually(lambda: all(app.get_run(run).completed for run in [*sums, flaky]))
        eventually(lambda: "--listen-dsn" in caplog.text)
    assert app.get_run(sums[10]).output == {"total": sum(n * n for n in range(10))}
    assert "prepared statement" not in caplog.text


def test_a_direct_connection_for_notifications_brings_work_at_once(app, pooled, pgflow_dsn):
    with working(pooled, flows.Sums, listen_dsn=pgflow_dsn, poll_interval=60) as worker:
        eventually(lambda: worker._listener.hears)
        began = time.monotonic()
        assert app.start_flow_sync(flows.Sums, {"count": 4}, timeout=30).output == {"total": 14}
        assert time.monotonic() - began < 10


def test_application_code_works_behind_a_pooler(app, pooled, pgflow_dsn):
    with PgFlow(pooled) as through, working(pgflow_dsn, flows.Sums):
        runs = [through.start_flow(flows.Sums, {"count": n}) for n in range(12)]
        eventually(lambda: all(through.get_run(run).completed for run in runs))
        assert through.start_flow_sync(flows.Sums, {"count": 3}, timeout=30).output == {"total": 5}
