"""``pgflow-mp runs`` and ``enqueue``: what was started when, and what begins later."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from pgflow_mp.client import PgFlow
from pytest_pgflow import factories
from tests.cli.test_start import Doubling

runs_dsn = factories.dsn(scope="module")


@pytest.fixture(scope="module")
def started(runs_dsn):
    """Five runs, the oldest first; the first has failed."""
    with PgFlow(runs_dsn) as app, psycopg.connect(runs_dsn, autocommit=True) as conn:
        app.compile(Doubling)
        ids = [str(app.start_flow(Doubling, {"n": n, "even": n % 2 == 0})) for n in range(5)]
        conn.execute("update pgflow.runs set started_at = now() - interval '3 hours' where input @> '{\"n\": 1}'")
        conn.execute(
            "update pgflow.runs set status = 'failed', started_at = now() - interval '2 days', "
            "failed_at = now() - interval '1 day' where input @> '{\"n\": 0}'"
        )
    return ids


@pytest.fixture
def runs(call, runs_dsn, started):
    def runs(*arguments: str, code: int = 0):
        done = call("runs", *arguments, "--dsn", runs_dsn)
        assert done.returncode == code, done.stderr
        return done

    return runs


def ids(done) -> list[str]:
    return [run["run_id"] for run in json.loads(done.stdout)["runs"]]


def test_the_latest_run_comes_first(runs, started):
    head, *lines = runs().stdout.splitlines()
    assert head.split() == ["RUN", "FLOW", "STATUS", "STARTED", "TIME", "INPUT"]
    assert [line.split()[0] for line in lines] == [started[4], started[3], started[2], started[1], started[0]]
    assert lines[-1].split()[1:3] == ["doubling", "failed"]
    assert lines[-1].endswith('24 h 00 min  {"n": 0, "even": true}')


def test_pages_follow_each_other_until_there_are_no_more(runs, started):
    first = json.loads(runs("--limit", "3", "--json").stdout)
    assert [run["run_id"] for run in first["runs"]] == started[:1:-1]
    second = json.loads(runs("--limit", "3", "--after", first["next"], "--json").stdout)
    assert [run["run_id"] for run in second["runs"]] == [started[1], started[0]]
    assert second["next"] is None
    assert runs("--limit", "3").stdout.splitlines()[-1] == f"there are more: --after {first['next']}"


def test_conditions_hold_together(runs, started):
    assert ids(runs("--json", "--status", "failed")) == [started[0]]
    assert ids(runs("--json", "--since", "1h")) == started[:1:-1]
    assert ids(runs("--json", "--until", "1h", "--since", "1d", "--flow", "doubling")) == [started[1]]
    assert ids(runs("--json", "--input", '{"even": true}', "--status", "started")) == [started[4], started[2]]
    assert runs("--since", "1h", "--status", "completed").stdout == "no runs\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--since", "soon"], 2, "'soon' is no time"),
        (["--after", "there"], 2, "'there' does not say where a page ended"),
        (["--input", "{"], 2, "no JSON"),
        (["--limit", "2000"], 2, "1 to 1000 runs"),
        (["--flow", "dobling"], 1, "did you mean `doubling`?"),
    ],
)
def test_a_condition_that_cannot_be_is_told(runs, arguments, code, said):
    assert said in runs(*arguments, code=code).stderr


def test_enqueue_starts_a_run_that_no_worker_can_take_before_its_time(call, runs_dsn, started):
    done = call("enqueue", "doubling", '{"n": 50}', "--in", "2h", "--dsn", runs_dsn)
    assert done.returncode == 0, done.stderr
    at = call("enqueue", "doubling", "--at", "2096-11-23T14:00+01:00", "--json", "--dsn", runs_dsn)
    with psycopg.connect(runs_dsn, autocommit=True) as conn:

        def due(run_id):
            return conn.execute(
                "select q.vt, q.vt - now() from pgmq.q_doubling as q join pgflow.step_tasks as t "
                "on t.message_id = q.msg_id where t.run_id = %s",
                [run_id],
            ).fetchone()

        assert 7100 < due(done.stdout.strip())[1].total_seconds() <= 7200
        wanted = datetime(2096, 11, 23, 13, tzinfo=UTC)
        assert abs(due(json.loads(at.stdout)["run_id"])[0] - wanted) < timedelta(seconds=1)


def test_enqueue_refuses_an_unknown_job_and_two_times(call, runs_dsn, started):
    assert "did you mean `doubling`?" in call("enqueue", "dubling", "--dsn", runs_dsn).stderr
    assert call("enqueue", "doubling", "--in", "1h", "--at", "2026-12-24", "--dsn", runs_dsn).returncode == 2
    assert call("enqueue", "doubling", "--in", "soon", "--dsn", runs_dsn).returncode == 2
