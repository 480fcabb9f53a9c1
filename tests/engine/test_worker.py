"""The whole way of a task through a worker with real children."""

from __future__ import annotations

import os
import signal
import time
import uuid
from pathlib import Path

import psycopg
import pytest

from benchmarks.proxy import proxy
from pgflow_mp import Flow, RunFailed, RunTimeout, step
from pgflow_mp.client import PgFlow
from pgflow_mp.core.queries.tasks import claim_tasks
from pgflow_mp.core.queries.workers import register_workers
from pgflow_mp.core.statement import execute
from pgflow_mp.engine.host import this_process
from tests.engine import flows
from tests.engine.harness import eventually, working


@pytest.fixture
def app(pgflow_dsn):
    with PgFlow(pgflow_dsn) as app:
        yield app


def count(conn, what):
    return conn.execute(f"select count(*) from {what}").fetchone()[0]


def test_a_flow_of_three_steps_runs_to_its_output(app, pgflow_dsn):
    app.compile(flows.Sums)
    with working(pgflow_dsn, flows.Sums):
        run = app.start_flow_sync(flows.Sums, {"count": 10}, timeout=30)
    assert run.completed
    assert run.output == {"total": 285}
    assert run.steps["square"].output == [n * n for n in range(10)]


def test_work_that_was_waiting_before_the_worker_came_is_done(app, pgflow_dsn):
    app.compile(flows.Sums)
    run_id = app.start_flow(flows.Sums, {"count": 3})
    with working(pgflow_dsn, flows.Sums):
        eventually(lambda: app.get_run(run_id).completed)
    assert app.get_run(run_id).output == {"total": 5}


def test_elements_of_a_map_run_in_several_processes_and_none_in_ours(app, pgflow_dsn):
    app.compile(flows.Pids)
    with working(pgflow_dsn, flows.Pids):
        run = app.start_flow_sync(flows.Pids, list(range(12)), timeout=30)
    pids = set(run.output["where"])
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_a_failing_step_is_tried_again_until_it_works(app, pgflow_dsn):
    app.compile(flows.Flaky)
    with working(pgflow_dsn, flows.Flaky):
        run = app.start_flow_sync(flows.Flaky, timeout=30)
    assert run.output == {"stubborn": 3}
    assert run.steps["stubborn"].attempts == 3


def test_a_step_that_fails_for_good_fails_the_run_with_its_error(app, pgflow_dsn):
    app.compile(flows.Hopeless)
    with working(pgflow_dsn, flows.Hopeless), pytest.raises(RunFailed) as failure:
        app.start_flow_sync(flows.Hopeless, {"a": 1}, timeout=30)
    error = failure.value.run.steps["broken"].error
    assert error.splitlines()[0] == "ValueError: cannot work with {'a': 1}"
    assert "tests/engine/flows.py" in error


def test_a_step_past_its_timeout_is_killed_and_fails_with_that_sentence(app, pgflow_dsn):
    app.compile(flows.Sleepy)
    with working(pgflow_dsn, flows.Sleepy), pytest.raises(RunFailed) as failure:
        app.start_flow_sync(flows.Sleepy, timeout=30)
    assert failure.value.run.steps["sleep"].error.splitlines()[0] == "Task timed out after 1s"


def test_a_child_that_dies_fails_its_task_at_once_and_no_other(app, pgflow_dsn):
    app.compile(flows.Suicidal)
    run_id = app.start_flow(flows.Suicidal, ["a", "b", "die"])
    with working(pgflow_dsn, flows.Suicidal):
        eventually(lambda: app.get_run(run_id).failed)
    tasks = app.get_run_with_states(run_id).steps["live"].tasks
    assert "SIGKILL" in tasks[2].error
    assert [task.error for task in tasks[:2]] == [None, None]


def test_a_step_that_is_no_root_gets_the_runs_input_when_it_asks(app, pgflow_dsn):
    app.compile(flows.AsksForInput)
    with working(pgflow_dsn, flows.AsksForInput):
        run = app.start_flow_sync(flows.AsksForInput, {"key": [1, 2]}, timeout=30)
    assert run.output == {"second": [1, {"key": [1, 2]}]}


def test_a_flow_defined_inside_a_function_runs_in_children_too(app, pgflow_dsn):
    factor = 7

    class Local(Flow):
        @step
        def multiply(flow_input):
            return flow_input["n"] * factor

    app.compile(Local)
    with working(pgflow_dsn, Local):
        assert app.start_flow_sync(Local, {"n": 6}, timeout=30).output == {"multiply": 42}


def test_several_flows_share_one_worker(app, pgflow_dsn):
    app.compile(flows.Sums)
    app.compile(flows.Flaky)
    with working(pgflow_dsn, flows.Sums, flows.Flaky):
        sums = [app.start_flow(flows.Sums, {"count": n}) for n in range(4)]
        flaky = [app.start_flow(flows.Flaky) for _ in range(4)]
        eventually(lambda: all(app.get_run(run_id).completed for run_id in sums + flaky))


def test_a_worker_told_to_take_one_run_leaves_the_others_alone(app, pgflow_dsn, pgflow_conn):
    app.compile(flows.Sums)
    others = [app.start_flow(flows.Sums, {"count": 2}) for _ in range(20)]
    mine = app.start_flow(flows.Sums, {"count": 2})
    with working(pgflow_dsn, flows.Sums, only_runs=[mine]):
        eventually(lambda: app.get_run(mine).completed)
    assert all(app.get_run(run_id).status == "started" for run_id in others)
    assert count(pgflow_conn, "pgflow.step_tasks where status = 'started'") == 0


def test_stopping_lets_a_running_task_finish(app, pgflow_dsn, tmp_path):
    app.compile(flows.Marked)
    marks = tmp_path / "marks"
    run_id = app.start_flow(flows.Marked, {"marks": str(marks), "seconds": 1})
    with working(pgflow_dsn, flows.Marked):
        eventually(marks.exists)
    assert app.get_run(run_id).completed


def test_what_does_not_finish_within_the_grace_goes_back_with_its_attempt_unspent(
    app, pgflow_dsn, pgflow_conn, tmp_path
):
    app.compile(flows.Marked)
    marks = tmp_path / "marks"
    run_id = app.start_flow(flows.Marked, {"marks": str(marks), "seconds": 60})
    with working(pgflow_dsn, flows.Marked, grace=0.2):
        eventually(marks.exists)
    task = app.get_run_with_states(run_id).steps["work"].tasks[0]
    assert (task.status, task.attempts) == ("queued", 0)
    visible = pgflow_conn.execute("select vt <= clock_timestamp() from pgmq.q_marked").fetchone()[0]
    assert visible
    assert not _lives(int(marks.read_text()))


@pytest.mark.slow
def test_what_a_worker_could_not_give_back_is_counted_and_a_second_stop_ends_the_wait(app, pgflow_dsn, tmp_path):
    """Without a database nobody may claim that nothing is left claimed."""
    app.compile(flows.Marked)
    marks = tmp_path / "marks"
    app.start_flow(flows.Marked, {"marks": str(marks), "seconds": 60})
    with proxy(pgflow_dsn) as through:
        with working(through.dsn, flows.Marked, grace=0.1, stops=2) as worker:
            eventually(marks.exists)
            through.refuse()
            through.cut()
            began = time.monotonic()
        assert time.monotonic() - began < 8
    assert worker.left_claimed == 1


def test_new_work_wakes_a_worker_that_would_not_look_for_a_minute(app, pgflow_dsn):
    app.compile(flows.Sums)
    with working(pgflow_dsn, flows.Sums, poll_interval=60):
        app.start_flow_sync(flows.Sums, {"count": 1}, timeout=30)
        time.sleep(0.5)  # the worker has looked, found nothing, and waits
        assert app.start_flow_sync(flows.Sums, {"count": 3}, timeout=10).completed


@pytest.mark.slow
def test_a_worker_that_is_busy_for_longer_than_silence_may_last_keeps_its_task(app, pgflow_dsn, monkeypatch, tmp_path):
    """Its heart beats beside the handlers; another worker's recovery must not take the task (D-3)."""
    app.compile(flows.Marked)
    app.compile(flows.Sums)
    monkeypatch.setattr("pgflow_mp.engine.recovery.SILENT_SECONDS", 1.0)
    monkeypatch.setattr("pgflow_mp.engine.recovery.RECOVER_SECONDS", 0.2)
    monkeypatch.setattr("pgflow_mp.engine.heartbeat.BEAT_SECONDS", 0.2)
    marks = tmp_path / "marks"
    with working(pgflow_dsn, flows.Marked), working(pgflow_dsn, flows.Sums):
        run = app.start_flow_sync(flows.Marked, {"marks": str(marks), "seconds": 4}, timeout=30)
    assert run.completed
    assert len(marks.read_text().splitlines()) == 1


def test_a_worker_that_fell_silent_loses_its_task_to_others(app, pgflow_dsn, pgflow_conn, monkeypatch, tmp_path):
    app.compile(flows.Marked)
    app.compile(flows.Sums)
    monkeypatch.setattr("pgflow_mp.engine.recovery.SILENT_SECONDS", 1.0)
    monkeypatch.setattr("pgflow_mp.engine.recovery.RECOVER_SECONDS", 0.2)
    marks = tmp_path / "marks"
    run_id = app.start_flow(flows.Marked, {"marks": str(marks), "seconds": 0})
    worker_id = uuid.uuid4()
    execute(
        pgflow_conn, register_workers({"marked": worker_id}, function_name="x", process=this_process(), version="x")
    )
    assert execute(pgflow_conn, claim_tasks(["marked"], [worker_id], [1]))
    with working(pgflow_dsn, flows.Marked):
        eventually(lambda: app.get_run(run_id).completed, seconds=15)
    assert app.get_run_with_states(run_id).steps["work"].attempts == 1


def test_a_stopped_worker_says_so_in_its_row(app, pgflow_dsn, pgflow_conn):
    app.compile(flows.Sums)
    with working(pgflow_dsn, flows.Sums):
        eventually(lambda: count(pgflow_conn, "pgflow.workers where stopped_at is null") == 1)
    assert count(pgflow_conn, "pgflow.workers where stopped_at is not null") == 1


def test_a_deprecated_worker_finishes_by_itself(app, pgflow_dsn, pgflow_conn):
    app.compile(flows.Sums)
    with working(pgflow_dsn, flows.Sums):
        eventually(lambda: count(pgflow_conn, "pgflow.workers") == 1)
        pgflow_conn.execute("update pgflow.workers set deprecated_at = now()")
        eventually(lambda: count(pgflow_conn, "pgflow.workers where stopped_at is not null") == 1)


def test_a_worker_whose_connections_die_goes_on_with_new_ones(app, pgflow_dsn, pgflow_conn):
    app.compile(flows.Sums)
    with working(pgflow_dsn, flows.Sums):
        app.start_flow_sync(flows.Sums, {"count": 2}, timeout=30)
        killed = pgflow_conn.execute(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity "
            "where datname = current_database() and application_name like 'pgflow-mp %' "
            "and application_name not like '% client' and pid <> pg_backend_pid()"
        ).fetchone()[0]
        assert killed >= 3
        assert app.start_flow_sync(flows.Sums, {"count": 3}, timeout=30).output == {"total": 5}


def test_a_run_that_nobody_works_on_times_out_for_the_caller_and_goes_on(app):
    app.compile(flows.Sums)
    with pytest.raises(RunTimeout) as timeout:
        app.start_flow_sync(flows.Sums, {"count": 1}, timeout=0.2)
    assert app.get_run(timeout.value.run_id).status == "started"


def test_a_worker_for_an_unreachable_database_fails_at_once(tmp_path):
    started = time.monotonic()
    with pytest.raises(psycopg.OperationalError), working(f"host={tmp_path} dbname=none", flows.Sums):
        pass
    assert time.monotonic() - started < 20


def test_thousand_runs_started_at_once_all_complete(app, pgflow_dsn):
    app.compile(flows.AsksForInput)
    ids = app.start_flows(flows.AsksForInput, [{"n": n} for n in range(1000)])
    with working(pgflow_dsn, flows.AsksForInput), psycopg.connect(pgflow_dsn, autocommit=True) as conn:
        eventually(lambda: count(conn, "pgflow.runs where status = 'completed'") == 1000, seconds=60)
        assert count(conn, "pgmq.q_asks_for_input") == 0
    assert app.get_run(ids[617]).output == {"second": [1, {"n": 617}]}


@pytest.mark.slow
def test_a_map_of_ten_thousand_elements_completes(app, pgflow_dsn):
    app.compile(flows.Sums)
    with working(pgflow_dsn, flows.Sums):
        run = app.start_flow_sync(flows.Sums, {"count": 10_000}, timeout=90)
    assert run.output == {"total": sum(n * n for n in range(10_000))}


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() if Path("/proc").exists() else _signal_reaches(pid)


def _signal_reaches(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIG_DFL)
    except ProcessLookupError:
        return False
    return True
