"""Observers hear what the database applied: all of it, once, in order, and off the path of the work."""

from __future__ import annotations

import pytest

from pgflow_mp.client import PgFlow
from tests.engine import flows
from tests.engine.harness import eventually, working
from tests.engine.recording import Recorder


@pytest.fixture
def app(pgflow_dsn):
    with PgFlow(pgflow_dsn) as app:
        yield app


def ended(app, run_id):
    return eventually(lambda: (run := app.get_run(run_id)).ended and run)


def test_a_run_is_told_from_its_first_task_to_its_end(app, pgflow_dsn):
    app.compile(flows.Sums)
    recorder = Recorder()
    with working(pgflow_dsn, flows.Sums, plugins=[recorder]):
        run_id = app.start_flow(flows.Sums, {"count": 2})
        run = ended(app, run_id)
    told = recorder.of_run(run_id)
    assert told[:3] == ["task_started numbers 1", "task_completed numbers 1", "step_completed numbers"]
    assert (
        sorted(told[3:8]) == ["step_completed square"] + ["task_completed square 1"] * 2 + ["task_started square 1"] * 2
    )
    assert told[8:] == [
        "task_started total 1",
        "task_completed total 1",
        "step_completed total",
        "run_completed",
    ]
    assert recorder.of("run_completed")[0]["run"].ended_at == run.completed_at
    assert sum(event["applied"] for event in recorder.of("tasks_settled")) == 4
    assert sum(len(event["tasks"]) for event in recorder.of("tasks_claimed")) == 4


def test_a_worker_tells_its_own_life_and_that_of_its_children(app, pgflow_dsn):
    app.compile(flows.Sums)
    recorder = Recorder()
    with working(pgflow_dsn, flows.Sums, plugins=[recorder]):
        eventually(lambda: recorder.of("worker_started"))
    names = [name for name in recorder.names() if name != "gauges"]
    assert names == ["child_started", "child_started", "worker_started", "worker_stopping", "worker_stopped"]
    worker = recorder.of("worker_started")[0]["worker"]
    assert [slug for slug, _ in worker.worker_ids] == ["sums"]
    assert recorder.of("worker_stopped")[0]["left_claimed"] == 0
    assert len(recorder.threads) == 1


def test_retries_and_the_final_failure_are_told_with_their_errors(app, pgflow_dsn):
    app.compile(flows.Flaky)
    app.compile(flows.Hopeless)
    recorder = Recorder()
    with working(pgflow_dsn, flows.Flaky, flows.Hopeless, plugins=[recorder]):
        flaky = app.start_flow(flows.Flaky)
        hopeless = app.start_flow(flows.Hopeless, {"x": 1})
        assert ended(app, flaky).completed
        assert ended(app, hopeless).failed
    assert recorder.of_run(flaky) == [
        "task_started stubborn 1",
        "task_retried stubborn 1",
        "task_started stubborn 2",
        "task_retried stubborn 2",
        "task_started stubborn 3",
        "task_completed stubborn 3",
        "step_completed stubborn",
        "run_completed",
    ]
    assert recorder.of_run(hopeless) == [
        "task_started broken 1",
        "task_failed broken 1",
        "step_failed broken",
        "run_failed",
    ]
    assert recorder.of("task_retried")[0]["error"].startswith("RuntimeError: not yet, attempt 1")
    assert recorder.of("run_failed")[0]["error"].startswith("ValueError: cannot work with {'x': 1}")


def test_a_task_past_its_time_and_a_child_that_dies_are_told(app, pgflow_dsn):
    app.compile(flows.Sleepy)
    app.compile(flows.Suicidal)
    recorder = Recorder()
    with working(pgflow_dsn, flows.Sleepy, flows.Suicidal, plugins=[recorder]):
        late = app.start_flow(flows.Sleepy)
        dying = app.start_flow(flows.Suicidal, ["die"])
        assert ended(app, late).failed
        assert ended(app, dying).failed
    assert recorder.of_run(late)[1:3] == ["task_timed_out sleep 1", "task_failed sleep 1"]
    assert {event["reason"] for event in recorder.of("task_failed")} == {"timeout", "lost"}
    lost = {event["tasks"][0].step_slug: event for event in recorder.of("child_lost")}
    assert lost["sleep"]["exit_code"] == -9
    assert lost["live"]["cause"].startswith("Worker process died:")
