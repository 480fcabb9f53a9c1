"""What a client tells its plugins: what is committed, and nothing that may be rolled back."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from pgflow_mp import AsyncPgFlow, Flow, PgFlow, PluginError, ShapeMismatch, map_step, step
from pgflow_mp.hooks import manager
from tests.engine.recording import Recorder


class Letters(Flow):
    @step
    def write(flow_input):
        return 1


class Idle(Flow):
    @step(when={"wanted": True})
    def only(flow_input):
        return 1


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def app(pgflow_dsn, recorder, monkeypatch):
    monkeypatch.setenv(manager.DISABLE, "*")
    with PgFlow(pgflow_dsn, plugins=[recorder]) as app:
        app.compile(Letters)
        app.compile(Idle)
        recorder.events.clear()
        yield app


def test_runs_are_told_that_are_started_now_later_or_many_at_once(app, recorder):
    started = [app.start_flow(Letters), *app.start_flows(Letters, [{}, {}]), app.enqueue_in(Letters, {}, 60)]
    assert [event["run"].run_id for event in recorder.of("run_started")] == started
    assert {event["run"].flow_slug for event in recorder.of("run_started")} == {"letters"}


def test_a_run_with_nothing_to_do_is_told_as_started_and_completed(app, recorder):
    run = app.get_run(app.start_flow(Idle))
    assert recorder.names()[0] == "run_started"
    assert recorder.names()[-1] == "run_completed"
    assert recorder.of("run_completed")[0]["run"].ended_at == run.completed_at


def test_steps_that_the_start_of_a_run_ends_are_told_once(app, recorder):
    class Picky(Flow):
        @step(when={"go": True}, when_unmet="skip")
        def gone(flow_input): ...

        @map_step
        def each(item): ...

        @step
        def after(each): ...

    class Conditional(Flow):
        @step(when={"go": True}, when_unmet="skip")
        def gone(flow_input): ...

        @step
        def kept(flow_input): ...

    app.compile(Conditional)
    run_id = app.start_flow(Conditional, {"go": False})
    assert recorder.of_run(run_id) == ["run_started", "step_skipped gone"]
    assert recorder.of("step_skipped")[0]["reason"] == "condition_unmet"
    app.compile(Picky)
    run_id = app.start_flow(Picky, [])
    assert recorder.of_run(run_id)[:1] == ["run_started"]
    assert {"step_completed each", "step_skipped gone"} <= set(recorder.of_run(run_id))
    run_id = app.start_flow(Conditional, {"go": True})
    assert recorder.of_run(run_id) == ["run_started"]


def test_a_run_in_the_callers_transaction_is_not_told(app, recorder, pgflow_dsn):
    """Nobody knows here whether it will be committed."""
    with psycopg.connect(pgflow_dsn) as conn:
        app.start_flow(Letters, conn=conn)
        app.compile(Letters, conn=conn)
        conn.rollback()
    assert recorder.events == []


def test_a_run_on_the_callers_connection_is_told_where_that_commits_by_itself(app, recorder, pgflow_conn):
    run_id = app.start_flow(Letters, conn=pgflow_conn)
    assert [event["run"].run_id for event in recorder.of("run_started")] == [run_id]


def test_a_run_that_was_started_before_by_the_same_key_is_told_once(app, recorder):
    assert app.start_flow(Letters, idempotency_key="a") == app.start_flow(Letters, idempotency_key="a")
    assert recorder.names() == ["run_started"]


def test_a_cancelled_run_is_told_as_failed_once(app, recorder):
    run_id = app.start_flow(Letters)
    app.cancel_run(run_id)
    app.cancel_run(run_id)
    (event,) = recorder.of("run_failed")
    assert (event["run"].run_id, event["error"]) == (run_id, "Run cancelled")
    assert event["run"].ended_at == app.get_run(run_id).failed_at


def test_a_compiled_flow_is_told_and_a_refused_one_is_not(app, recorder):
    class Other(Flow, slug="letters"):
        @step
        def paint(flow_input):
            return 1

    app.compile(Letters)
    with pytest.raises(ShapeMismatch):
        app.compile(Other)
    app.compile(Other, recompile=True)
    told = [(event["status"], bool(event["differences"])) for event in recorder.of("flow_compiled")]
    assert told == [("verified", False), ("recompiled", True)]


def test_the_awaited_client_tells_the_same(pgflow_dsn, app, recorder):
    async def start():
        async with AsyncPgFlow(pgflow_dsn, plugins=[recorder]) as other:
            return await other.start_flow(Letters)

    run_id = asyncio.run(start())
    assert [event["run"].run_id for event in recorder.of("run_started")] == [run_id]


def test_a_worker_of_the_client_has_its_plugins(app, recorder):
    with app.start_worker(Letters, processes=1):
        run_id = app.start_flow_sync(Letters).run_id
    assert recorder.of_run(run_id) == [
        "run_started",
        "task_started write 1",
        "task_completed write 1",
        "step_completed write",
        "run_completed",
    ]


def test_a_plugin_that_does_not_fit_is_an_error_at_construction(pgflow_dsn):
    class Misspelt:
        def pgflow_run_begun(self, run): ...

    with pytest.raises(PluginError, match="pgflow_run_begun: there is no such hook"):
        PgFlow(pgflow_dsn, plugins=[Misspelt()])


def test_installed_plugins_are_looked_for_when_something_is_first_told(pgflow_dsn, monkeypatch):
    looked = []
    monkeypatch.setattr(manager, "_entry_points", lambda: looked.append(1) or ())
    with PgFlow(pgflow_dsn) as app:
        assert not looked
        app.compile(Letters)
        app.start_flow(Letters)
    assert looked == [1]
