"""``pgflow-mp retry``: runs again, whole or from what failed."""

from __future__ import annotations

import json

import pytest

from pgflow_mp import Flow, step
from pgflow_mp.client import PgFlow
from pytest_pgflow import factories

retry_dsn = factories.dsn(scope="module")
retry_runner = factories.flow_runner("retry_dsn", scope="module", executor="inline")


class Fragile(Flow, max_attempts=1):
    @step
    def kept(flow_input):
        return "kept"

    @step
    def broken(kept):
        raise RuntimeError("no luck")


@pytest.fixture(scope="module")
def failed(retry_runner):
    return retry_runner.run(Fragile, {"n": 1}, check=False).run_id


@pytest.fixture
def app(retry_dsn):
    with PgFlow(retry_dsn) as app:
        yield app


@pytest.fixture
def retry(call, retry_dsn):
    return lambda *arguments: call("retry", *map(str, arguments), "--dsn", retry_dsn)


def test_a_run_is_repeated_whole_or_from_what_failed(retry, failed, app, call, retry_dsn):
    whole = retry(failed)
    assert whole.returncode == 0, whole.stderr
    again = app.get_run_with_states(whole.stdout.strip())
    assert (again.input, again.retry_of, again.steps["kept"].status) == ({"n": 1}, failed, "started")
    (rest,) = json.loads(retry(failed, "--from-failed", "--json").stdout)
    assert app.get_run_with_states(rest["run_id"]).steps["kept"].completed
    assert f"retry of {failed}" in call("show", rest["run_id"], "--dsn", retry_dsn).stdout


def test_what_cannot_be_repeated_is_told_and_nothing_is_started(retry, failed, app):
    going = app.start_flow(Fragile, {})
    before = len(app.list_runs())
    for bad, said in ((going, "going"), ("00000000-0000-7000-8000-000000000000", "there is no run")):
        done = retry(failed, bad)
        assert done.returncode == 1
        assert said in done.stderr
    assert retry("nothing").returncode == 2
    assert len(app.list_runs()) == before
