"""``pgflow-mp start``: runs for the workers of a flow."""

from __future__ import annotations

import io
import json
import threading

import pytest

from pgflow_mp import Flow, step
from pgflow_mp.client import PgFlow
from pytest_pgflow import factories
from tests.cli.command import is_one_sentence

cli_dsn = factories.dsn(scope="module")
runner = factories.flow_runner("cli_dsn", scope="module")


class Doubling(Flow, max_attempts=1):
    @step
    def double(flow_input):
        return 2 * flow_input["n"]


@pytest.fixture(scope="module", autouse=True)
def compiled(cli_dsn):
    with PgFlow(cli_dsn) as app:
        app.compile(Doubling)


@pytest.fixture
def start(call, cli_dsn):
    return lambda *arguments: call("start", *arguments, "--dsn", cli_dsn)


@pytest.fixture
def app(cli_dsn):
    with PgFlow(cli_dsn) as app:
        yield app


def test_start_prints_the_id_of_the_run_that_it_started(start, app):
    done = start("doubling", '{"n": 4}')
    assert done.returncode == 0, done.stderr
    run = app.get_run(done.stdout.strip())
    assert (run.flow_slug, run.input, run.status) == ("doubling", {"n": 4}, "started")


def test_the_id_as_json(start, app):
    done = start("doubling", "--json")
    assert app.get_run(json.loads(done.stdout)["run_id"]).input == {}


def test_each_line_of_stdin_is_a_run(start, app, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('{"n": 1}\n\n{"n": 2}\n'))
    done = start("doubling", "--lines", "-")
    assert [app.get_run(run_id).input for run_id in done.stdout.split()] == [{"n": 1}, {"n": 2}]


def test_a_bad_line_is_named_and_nothing_is_started(start, app, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('{"n": 1}\n{"n": }\n'))
    done = start("doubling", "--lines", "-")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "line 2 of the input from stdin is no JSON" in done.stderr


@pytest.mark.parametrize(
    ("value", "code", "said"),
    [('{"n": 4}', 0, "8\n"), ("{}", 1, "failed in step double: KeyError: 'n'")],
)
def test_wait_prints_the_output_or_why_there_is_none(start, app, cli_dsn, monkeypatch, value, code, said):
    worked_off = work_off_one(cli_dsn, app, monkeypatch)
    done = start("doubling", value, "--wait", "--timeout", "30")
    worked_off.join()
    assert done.returncode == code, done.stderr
    assert said in (done.stderr if code else done.stdout)


def test_a_wait_that_takes_too_long_leaves_the_run_as_it_is(start, app):
    done = start("doubling", "--wait", "--timeout", "0.1")
    assert done.returncode == 124
    assert done.stdout == ""
    assert "goes on: not done within 0.10 s" in done.stderr


def test_a_key_and_a_running_twin_start_nothing_more(start):
    first = start("doubling", '{"n": 5}', "--key", "order-5").stdout
    assert start("doubling", '{"n": 5}', "--key", "order-5").stdout == first
    assert start("doubling", '{"n": 5}').stdout != first
    twin = start("doubling", '{"n": 55}', "--unique").stdout
    assert start("doubling", '{"n": 56}', "--unique").stdout == twin
    assert start("doubling", '{"n": 1}', "--lines", "--key", "one").returncode == 2


def test_an_unknown_flow_is_told_with_the_near_one(start):
    done = start("dubling")
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert "'dubling' is not in this database (did you mean `doubling`?)" in done.stderr


def test_a_timeout_without_a_wait_is_refused(start):
    assert start("doubling", "--timeout", "3").returncode == 2


def test_without_a_database_it_says_how_to_name_one(call):
    done = call("start", "doubling")
    assert done.returncode == 2
    assert "pass --dsn DSN or set PGFLOW_DSN; --dev means" in done.stderr


def work_off_one(dsn, app, monkeypatch):
    """A thread that works off the next run that this process starts, as a worker would."""
    from pgflow_mp.cli import start as command

    started, ids = threading.Event(), []
    starting = command._start

    def noted(*arguments):
        ids.extend(starting(*arguments))
        started.set()
        return ids

    def work():
        import psycopg

        assert started.wait(30)
        with psycopg.connect(dsn, autocommit=True) as conn:
            settle(conn, app.get_run(ids[0]))

    monkeypatch.setattr(command, "_start", noted)
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def settle(conn, run):
    """Do the run's only task with the contract's calls."""
    worker = conn.execute(
        "insert into pgflow.workers (worker_id, queue_name, function_name) values (gen_random_uuid(), 'doubling', 't') "
        "returning worker_id"
    ).fetchone()[0]
    (message,) = conn.execute("select message_id from pgflow.step_tasks where run_id = %s", [run.run_id]).fetchone()
    conn.execute("select pgflow.start_tasks('doubling', array[%s::bigint], %s)", [message, worker])
    if "n" in run.input:
        conn.execute("select pgflow.complete_task(%s, 'double', 0, %s)", [run.run_id, json.dumps(2 * run.input["n"])])
    else:
        conn.execute("select pgflow.fail_task(%s, 'double', 0, %s)", [run.run_id, "KeyError: 'n'"])
