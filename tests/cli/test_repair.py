"""``pgflow-mp repair``: tells or mends what is stuck."""

from __future__ import annotations

import json

import pytest

from pgflow_mp.client import PgFlow
from pytest_pgflow import factories
from tests.cli.test_start import Doubling

cli_dsn = factories.dsn(scope="module")


@pytest.fixture
def stuck(cli_dsn):
    """The id of a run whose message somebody deleted."""
    with PgFlow(cli_dsn) as app:
        app.compile(Doubling)
        run_id = app.start_flow(Doubling, {"n": 1})
    import psycopg

    with psycopg.connect(cli_dsn, autocommit=True) as conn:
        conn.execute("delete from pgmq.q_doubling")
    return run_id


@pytest.fixture
def repair(call, cli_dsn):
    return lambda *arguments: call("repair", *arguments, "--dsn", cli_dsn)


def test_repair_tells_in_a_dry_run_and_mends_when_asked(repair, stuck):
    told = repair("--dry-run", "--json")
    assert told.returncode == 0, told.stderr
    (damage,) = json.loads(told.stdout)
    assert damage["damage"] == "task without a message"
    assert (damage["run_id"], damage["step_slug"], damage["mended"]) == (str(stuck), "double", False)
    mended = repair("doubling")
    assert mended.returncode == 0
    assert mended.stdout.splitlines()[1].split() == (
        ["task", "without", "a", "message", "doubling", str(stuck), "double[0]", "yes"]
    )
    assert repair().stdout == "nothing is broken\n"


def test_an_unknown_flow_is_refused(repair, cli_dsn):
    with PgFlow(cli_dsn) as app:
        app.compile(Doubling)
    done = repair("doublink")
    assert done.returncode == 1
    assert "did you mean `doubling`?" in done.stderr
