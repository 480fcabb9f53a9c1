"""``pgflow-mp prune`` and ``retention``: what is kept, and for how long."""

from __future__ import annotations

import json

import psycopg
import pytest

from pgflow_mp.client import PgFlow
from pytest_pgflow import factories
from tests.cli.test_start import Doubling

prune_dsn = factories.dsn(scope="module")


@pytest.fixture(scope="module")
def app(prune_dsn):
    with PgFlow(prune_dsn) as app:
        app.compile(Doubling)
        yield app


@pytest.fixture
def ask(call, prune_dsn, app):
    def ask(*arguments: str, code: int = 0):
        done = call(*arguments, "--dsn", prune_dsn)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return ask


def test_prune_deletes_what_ended_long_ago_and_tells_how_much(ask, app, prune_dsn):
    old, going = app.start_flows(Doubling, [{"n": 1}, {"n": 2}])
    app.cancel_run(old)
    with psycopg.connect(prune_dsn, autocommit=True) as conn:
        conn.execute("update pgflow.runs set started_at = now() - interval '9 days'")
        conn.execute("update pgflow.runs set failed_at = now() - interval '8 days' where run_id = %s", [old])
    assert ask("prune", "--older-than", "10d").stdout.startswith("deleted: 0 runs, 0 tasks, ")
    pruned = json.loads(ask("prune", "doubling", "--older-than", "1w", "--json").stdout)
    assert (pruned["runs"], pruned["tasks"]) == (1, 1)
    assert [run.run_id for run in app.list_runs()] == [going]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "--older-than"),
        (["--older-than", "long"], 2, "no span of time"),
        (["dubling", "--older-than", "1d"], 1, "did you mean `doubling`?"),
    ],
)
def test_prune_refuses_what_it_does_not_understand(ask, arguments, code, said):
    assert said in ask("prune", *arguments, code=code).stderr


def test_retention_tells_what_holds_and_is_changed(ask):
    assert ask("retention", "--keep", "90d").stdout.startswith("runs are kept ")
    assert json.loads(ask("retention", "--json").stdout) == {"keep": 90 * 86_400, "flows": {}}
    own = json.loads(ask("retention", "doubling", "--forever", "--json").stdout)
    assert own == {"keep": 90 * 86_400, "flows": {"doubling": None}}
    assert json.loads(ask("retention", "doubling", "--as-others", "--json").stdout)["flows"] == {}
    assert "name the flow" in ask("retention", "--as-others", code=2).stderr
    assert "runs are kept" in ask("doctor", code=0).stdout
