"""``pgflow-mp cancel``: runs that end before their end."""

from __future__ import annotations

import json

import psycopg
import pytest

from pgflow_mp.client import PgFlow
from pytest_pgflow import factories
from tests.cli.test_start import Doubling

cancel_dsn = factories.dsn(scope="module")


@pytest.fixture
def app(cancel_dsn):
    with PgFlow(cancel_dsn) as app:
        app.compile(Doubling)
        yield app


@pytest.fixture
def cancel(call, cancel_dsn):
    return lambda *arguments: call("cancel", *map(str, arguments), "--dsn", cancel_dsn)


def test_cancelled_runs_are_told_and_shown_as_cancelled(cancel, call, app, cancel_dsn):
    one, other = app.start_flows(Doubling, [{"n": 1}, {"n": 2}])
    done = cancel(one, other)
    assert (done.returncode, done.stdout) == (0, f"{one}: cancelled\n{other}: cancelled\n"), done.stderr
    assert app.get_run(one).cancelled
    assert "doubling  cancelled" in call("runs", "--limit", "1", "--dsn", cancel_dsn).stdout
    shown = call("show", str(one), "--dsn", cancel_dsn).stdout
    assert shown.startswith("⊘ doubling cancelled in ")
    assert shown.endswith(f"run {one} was cancelled\n")
    assert cancel(one).returncode == 0


def test_a_run_that_had_ended_stays_as_it_is(cancel, app, cancel_dsn):
    run_id = app.start_flow(Doubling, {"n": 1})
    with psycopg.connect(cancel_dsn, autocommit=True) as conn:
        conn.execute("update pgflow.runs set status = 'failed', failed_at = now() where run_id = %s", [run_id])
    done = cancel(run_id, "--json")
    assert done.returncode == 1
    (found,) = json.loads(done.stdout)
    assert (found["run_id"], found["status"], found["cancelled"]) == (str(run_id), "failed", False)
    assert "had failed before" in cancel(run_id).stdout


def test_one_unknown_run_and_none_is_cancelled(cancel, app):
    run_id = app.start_flow(Doubling, {"n": 1})
    done = cancel(run_id, "00000000-0000-7000-8000-000000000000")
    assert done.returncode == 1
    assert "there is no run 00000000" in done.stderr
    assert app.get_run(run_id).status == "started"
    assert cancel("this").returncode == 2
