"""cancel_run: what becomes of the run, and of those who work on it, wherever they are."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from pathlib import Path

import psycopg
import pytest

from pgflow_mp import AsyncPgFlow, Flow, InvalidRunId, PgFlow, RunFailed, RunNotFound, map_step, step
from tests.core.ask import column, rows, value
from tests.engine.harness import eventually, working
from tests.executors.harness import is_alive


class Fan(Flow):
    """Some tasks now, some later."""

    @map_step
    def each(item):
        return item

    @step
    def total(each):
        return len(each)


class Alone(Flow):
    """Is complete at its start where there is nothing to do."""

    @map_step
    def each(item):
        return item


class Long(Flow):
    """Tells its process, and stays there."""

    @step
    def sleep(flow_input):
        say(str(os.getpid()), flow_input)
        time.sleep(3600)


class Everywhere(Flow):
    """Runs in a coroutine and in a thread at the same time; each tells how it ended."""

    @step
    async def coroutine(flow_input):
        say("began", flow_input, "coroutine")
        try:
            await asyncio.sleep(3600)
        finally:
            say("ended", flow_input, "coroutine")

    @step(executor="thread")
    def thread(flow_input, ctx):
        say("began", flow_input, "thread")
        while not ctx.cancelled:
            time.sleep(0.01)
        say("ended", flow_input, "thread")
        return "nobody wants this"


class Beside(Flow, max_attempts=1):
    """One step fails while the other one runs."""

    @step
    def sleep(flow_input):
        say(str(os.getpid()), flow_input)
        time.sleep(3600)

    @step(executor="thread")
    def fail(flow_input):
        while not text(flow_input):
            time.sleep(0.01)
        raise RuntimeError("broken")


def say(words, *path):
    Path(*path).write_text(words)


def text(path):
    path = Path(path)
    return path.read_text() if path.exists() else ""


@pytest.fixture
def app(pgflow_dsn):
    with PgFlow(pgflow_dsn) as app:
        for flow in (Fan, Alone, Long, Everywhere, Beside):
            app.compile(flow)
        yield app


def test_a_cancelled_run_has_failed_and_nothing_of_it_is_left(app, pgflow_conn):
    other = app.start_flow(Fan, [1])
    run = app.cancel_run(app.start_flow(Fan, [1, 2, 3]))
    assert (run.status, run.cancelled, run.error) == ("failed", True, "Run cancelled")
    details = app.get_run_with_states(run.run_id)
    assert details.cancelled
    assert details.error == "Run cancelled"
    assert {task.status for task in details.steps["each"].tasks} == {"cancelled"}
    assert value(pgflow_conn, "select count(*) from pgmq.q_fan") == 1
    assert value(pgflow_conn, "select count(*) from pgmq.a_fan") == 3
    assert app.get_run(other).status == "started"
    assert [run.run_id for run in app.list_runs(status="failed")] == [run.run_id]


def test_a_run_that_has_ended_stays_as_it_is(app, pgflow_conn):
    done, failed = app.start_flow(Alone, []), app.start_flow(Fan, [1])
    assert app.cancel_run(done).status == "completed"
    pgflow_conn.execute("select pgflow_mp._fail_runs(array[%s::uuid], array['each'], array['no'])", (failed,))
    run = app.cancel_run(str(failed))
    assert (run.cancelled, run.error) == (False, "no")
    first = app.cancel_run(app.start_flow(Fan, [1]))
    assert app.cancel_run(first.run_id) == first


def test_unknown_runs_are_told(app):
    with pytest.raises(RunNotFound):
        app.cancel_run(uuid.uuid4())
    with pytest.raises(InvalidRunId):
        app.cancel_run("seven")


def test_a_cancellation_holds_if_and_only_if_the_callers_transaction_commits(app, pgflow_dsn):
    run_id = app.start_flow(Fan, [1])
    with psycopg.connect(pgflow_dsn) as conn:
        assert app.cancel_run(run_id, conn=conn).cancelled
        conn.rollback()
    assert app.get_run(run_id).status == "started"


def test_a_waiting_caller_is_told_at_once(app):
    async def application():
        async with AsyncPgFlow(app._connections.dsn) as other:
            waiting = asyncio.create_task(other.start_flow_sync(Fan, [1], timeout=20, poll_interval=60))
            while not (runs := await other.list_runs()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await other.cancel_run(runs[0].run_id)
            with pytest.raises(RunFailed, match="Run cancelled") as failure:
                await waiting
            return failure.value.run

    assert asyncio.run(application()).cancelled


@pytest.mark.own_core
def test_what_another_language_settles_late_changes_nothing(app, pgflow_conn):
    run_id = app.start_flow(Fan, [1, 2])
    worker = uuid.uuid4()
    pgflow_conn.execute("select pgflow.register_worker(%s, 'fan', 'elixir:Fan')", (worker,))
    ids = column(pgflow_conn, "select msg_id from pgmq.read('fan', 30, 2)")
    pgflow_conn.execute("select pgflow.start_tasks('fan', %s, %s)", (ids, worker))
    app.cancel_run(run_id)
    before = rows(pgflow_conn, "select * from pgflow.step_tasks order by task_index")
    pgflow_conn.execute("select pgflow.complete_task(%s, 'each', 0, '1')", (run_id,))
    pgflow_conn.execute("select pgflow.fail_task(%s, 'each', 1, 'late')", (run_id,))
    assert rows(pgflow_conn, "select * from pgflow.step_tasks order by task_index") == before
    assert app.get_run(run_id).error == "Run cancelled"


def test_cancelling_and_completing_at_once_end_a_run_once(app, pgflow_dsn, pgflow_conn):
    """Whichever comes first holds the run's row; the other one finds it ended."""
    run_id = app.start_flow(Alone, [])
    going = app.start_flow(Fan, [1])
    with psycopg.connect(pgflow_dsn) as first, psycopg.connect(pgflow_dsn, autocommit=True) as second:
        app.cancel_run(going, conn=first)
        second.execute("set lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            second.execute("select pgflow_mp.cancel_runs(array[%s::uuid])", (going,))
        first.commit()
        assert column(second, "select pgflow_mp.cancel_runs(array[%s::uuid, %s])", going, run_id) == []


def test_a_running_process_a_coroutine_and_a_thread_are_ended_and_the_worker_goes_on(app, pgflow_dsn, tmp_path):
    with working(pgflow_dsn, Long, Everywhere, Fan, processes=1) as worker:
        long = app.start_flow(Long, str(tmp_path / "pid"))
        everywhere = app.start_flow(Everywhere, str(tmp_path))
        pid = int(eventually(lambda: text(tmp_path / "pid")))
        eventually(lambda: text(tmp_path / "coroutine") == text(tmp_path / "thread") == "began")
        app.cancel_run(long)
        app.cancel_run(everywhere)
        eventually(lambda: not is_alive(pid))
        eventually(lambda: text(tmp_path / "coroutine") == text(tmp_path / "thread") == "ended")
        assert app.start_flow_sync(Fan, [1, 2], timeout=20).output == {"total": 2}
        eventually(lambda: worker.left_claimed == 0)
    for run_id in (long, everywhere):
        run = app.get_run_with_states(run_id)
        assert run.cancelled
        assert {task.status for state in run.steps.values() for task in state.tasks} == {"cancelled"}
        assert {task.output for state in run.steps.values() for task in state.tasks} == {None}


@pytest.mark.slow
def test_without_notifications_the_worker_finds_out_by_asking(app, pgflow_dsn, server_dsn, tmp_path, monkeypatch):
    monkeypatch.setattr("pgflow_mp.engine.cancelling.LOOK_SECONDS", 0.2)
    with working(pgflow_dsn, Long, Beside, processes=1, listen_dsn=server_dsn, poll_interval=0.1):
        run_id = app.start_flow(Long, str(tmp_path / "pid"))
        pid = int(eventually(lambda: text(tmp_path / "pid")))
        app.cancel_run(run_id)
        eventually(lambda: not is_alive(pid))

        # Nobody cancels this one: a run that fails takes what runs for it along, and so does one that is deleted.
        app.start_flow(Beside, str(tmp_path / "beside"))
        pid = int(eventually(lambda: text(tmp_path / "beside")))
        eventually(lambda: not is_alive(pid))

        app.start_flow(Long, str(tmp_path / "deleted"))
        pid = int(eventually(lambda: text(tmp_path / "deleted")))
        app.delete_flow(Long)
        eventually(lambda: not is_alive(pid))
