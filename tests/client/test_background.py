"""start_worker and stop_worker: a worker in the application's own process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading

import psycopg
import pytest

from pgflow_mp import AsyncPgFlow, Flow, FlowNotFound, PgFlow, PgflowError, ShapeMismatch, WorkerNotFound, step
from tests.engine.harness import eventually


class Where(Flow):
    """Tells which process worked."""

    @step
    def pid():
        return os.getpid()


class Other(Flow):
    """Shares a worker with it."""

    @step(executor="thread")
    def thread():
        return threading.current_thread().name


@pytest.fixture
def app(pgflow_dsn):
    with PgFlow(pgflow_dsn, flows=[Where, Other]) as app:
        yield app


def open_workers(conn):
    return [row[0] for row in conn.execute("select queue_name from pgflow.workers where stopped_at is null order by 1")]


def test_it_compiles_and_works_in_children_until_the_end_of_the_block(app, pgflow_conn):
    with app.start_worker([Where, "other"], processes=1) as worker:
        assert worker.running
        assert worker.flows == ("where", "other")
        assert app.start_flow_sync(Where, timeout=20).output["pid"] not in (os.getpid(), None)
        assert "MainThread" not in app.start_flow_sync(Other, timeout=20).output["thread"]
        assert open_workers(pgflow_conn) == ["other", "where"]
        assert {flow.slug: flow.live_workers for flow in app.health_check().flows} == {"where": 1, "other": 1}
    assert not worker.running
    assert open_workers(pgflow_conn) == []


def test_it_is_stopped_by_its_flow_by_its_handle_or_by_closing(pgflow_dsn, pgflow_conn):
    with PgFlow(pgflow_dsn, flows=[Where, Other]) as app:
        app.start_worker(Where, processes=1)
        app.start_worker(Other)
        with pytest.raises(PgflowError, match="serves flow `where` already"):
            app.start_worker("where")
        app.stop_worker("where")
        with pytest.raises(WorkerNotFound, match="serves flow `where`; served: other"):
            app.stop_worker(Where)
        handle = app.start_worker(Where, processes=1)
        handle.stop()
        handle.stop()
        assert open_workers(pgflow_conn) == ["other"]
    assert open_workers(pgflow_conn) == []


def test_what_it_cannot_work_on_is_refused_in_a_sentence(app, pgflow_dsn, pgflow_conn):
    with pytest.raises(FlowNotFound, match="known: other, where"):
        app.start_worker("nothing")
    with PgFlow(pgflow_dsn) as empty, pytest.raises(FlowNotFound, match="name one"):
        empty.start_worker()

    class Changed(Flow, slug="where"):
        @step
        def another():
            return 1

    app.compile(Where)
    with pytest.raises(ShapeMismatch):
        app.start_worker(Changed)
    assert open_workers(pgflow_conn) == []
    with pytest.raises(WorkerNotFound, match="served: none"):
        app.stop_worker(Where)


def test_a_worker_that_cannot_start_says_why_and_leaves_nothing(app, monkeypatch):
    app.compile(Other)
    monkeypatch.setattr("pgflow_mp.engine.worker.Worker._start", refuse)
    before = threading.active_count()
    with pytest.raises(psycopg.OperationalError, match="too many"):
        app.start_worker(Other)
    assert threading.active_count() == before
    monkeypatch.undo()
    app.start_worker(Other).stop()


async def refuse(_):
    raise psycopg.OperationalError("too many connections")


def test_the_awaited_face_has_the_same_and_its_loop_goes_on(pgflow_dsn, pgflow_conn):
    async def application():
        async with AsyncPgFlow(pgflow_dsn, flows=[Other]) as app:
            async with await app.start_worker(Other):
                run = await app.start_flow_sync(Other, timeout=20)
            await app.start_worker(Other)
            with pytest.raises(WorkerNotFound):
                await app.stop_worker(Where)
        return run

    assert asyncio.run(application()).completed
    assert open_workers(pgflow_conn) == []


PROGRAM = """
    import pathlib, sys
    from pgflow_mp import Flow, PgFlow, step

    class Left(Flow, slug="left"):
        @step(executor="async")
        async def wait():
            import asyncio
            await asyncio.sleep(600)

    app = PgFlow(sys.argv[1])
    app.start_worker(Left)
    run_id = app.start_flow(Left)
    while app.get_run_with_states(run_id).steps["wait"].tasks[0].status != "started":
        pass
"""


def test_an_application_that_just_ends_gives_everything_back(pgflow_dsn, pgflow_conn):
    program = [sys.executable, "-c", textwrap.dedent(PROGRAM), pgflow_dsn]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert open_workers(pgflow_conn) == []
    task = pgflow_conn.execute("select status, attempts_count from pgflow.step_tasks").fetchone()
    assert task == ("queued", 0)
    eventually(
        lambda: pgflow_conn.execute("select count(*) from pgmq.q_left where vt <= clock_timestamp()").fetchone()[0]
    )
