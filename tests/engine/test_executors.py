"""Steps in processes, event loops, threads: where each runs, how much of it, and that none keeps another waiting."""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter

import pytest

from pgflow_mp import Flow, FlowDefinition, RunFailed, map_step, step
from pgflow_mp.client import PgFlow
from pgflow_mp.core.queries.workers import flows_of_other_workers, register_workers
from pgflow_mp.core.statement import execute
from pgflow_mp.engine.host import this_process
from tests.engine import executor_flows as flows
from tests.engine.harness import eventually, working


@pytest.fixture
def app(pgflow_dsn):
    with PgFlow(pgflow_dsn) as app:
        yield app


def test_each_step_runs_where_it_asks_to(app, pgflow_dsn):
    app.compile(flows.Everywhere)
    with working(pgflow_dsn, flows.Everywhere):
        output = app.start_flow_sync(flows.Everywhere, timeout=30).output
    assert output["process"][1] is True
    assert output["loop"][1] is True
    assert len({os.getpid(), output["process"][0], output["loop"][0]}) == 3
    assert output["thread"][0] == output["inline"][0] == os.getpid()
    assert output["thread"][1] != output["inline"][1]


def test_a_hundred_async_tasks_that_wait_a_second_take_about_a_second(app, pgflow_dsn):
    app.compile(flows.Waiting)
    with working(pgflow_dsn, flows.Waiting):
        app.start_flow_sync(flows.Waiting, [0], timeout=30)
        began = time.monotonic()
        run = app.start_flow_sync(flows.Waiting, [1] * 100, timeout=60)
        seconds = time.monotonic() - began
    assert len(set(run.output["wait"])) == 1
    assert seconds < 10


def test_a_worker_without_async_steps_has_no_event_loops_and_one_with_nothing_else_no_other_children(app, pgflow_dsn):
    app.compile(flows.Waiting)
    app.compile(flows.Crowd)
    with working(pgflow_dsn, flows.Waiting) as worker:
        eventually(lambda: worker.health().ok)
        assert (worker._fleet.size_of("async"), worker._fleet.size_of("process")) == (100, 0)
    with working(pgflow_dsn, flows.Crowd) as worker:
        eventually(lambda: worker.health().ok)
        assert (worker._fleet.size_of("async"), worker._fleet.size_of("process")) == (0, 2)


def test_steps_past_their_time_fail_with_that_sentence_and_a_hanging_thread_does_not_keep_the_worker(app, pgflow_dsn):
    app.compile(flows.Hanging)
    with working(pgflow_dsn, flows.Hanging):
        run_id = app.start_flow(flows.Hanging)
        eventually(lambda: app.get_run(run_id).failed)
        steps = eventually(lambda: _ended(app.get_run_with_states(run_id).steps))
        began = time.monotonic()
    assert time.monotonic() - began < 10, "the thread sleeps for an hour"
    assert steps["waits"].error.splitlines()[0] == "Task timed out after 1s"
    assert "in waits" in steps["waits"].error


def _ended(steps):
    return steps if steps["waits"].failed else None


def test_a_limited_step_runs_so_often_at_once_and_keeps_no_other_one_waiting(app, pgflow_dsn, tmp_path):
    app.compile(flows.Limited)
    log = tmp_path / "log"
    items = [{"log": str(log), "seconds": 0.3}] * 8
    with working(pgflow_dsn, flows.Limited, processes=3):
        run_id = app.start_flow(flows.Limited, items)
        eventually(lambda: app.get_run_with_states(run_id).steps["quick"].completed)
        assert log.read_text().count("end") < 8, "quick is behind the eight in the queue"
        eventually(lambda: app.get_run(run_id).completed)
    assert log.read_text().split() == ["begin", "end"] * 8


def test_a_heavy_step_gets_its_processes_among_many_light_ones(app, pgflow_dsn, tmp_path):
    app.compile(flows.Heavy)
    log = tmp_path / "log"
    with working(pgflow_dsn, flows.Heavy, processes=2):
        run = app.start_flow_sync(flows.Heavy, [str(log)] * 4, timeout=60)
    assert run.completed
    running = []
    for line in log.read_text().splitlines():
        kind, event = line.split()
        running.append(kind) if event == "begins" else running.remove(kind)
        assert running.count("heavy") * 2 + running.count("light") <= 2


def test_retry_on_says_what_is_tried_again(app, pgflow_dsn):
    app.compile(flows.Picky)
    with working(pgflow_dsn, flows.Picky), pytest.raises(RunFailed) as failure:
        app.start_flow_sync(flows.Picky, timeout=30)
    assert failure.value.run.steps["call"].attempts == 3
    assert failure.value.run.steps["call"].error.startswith("ValueError: no use")


def test_a_flow_with_few_tasks_is_not_starved_by_one_with_thousands(app, pgflow_dsn):
    """Shared fairly: the few take about twice as long as alone, not as long as the crowd before them."""
    app.compile(flows.Crowd)
    app.compile(flows.Few)
    with working(pgflow_dsn, flows.Crowd, flows.Few):
        crowd = app.start_flow(flows.Crowd, list(range(5000)))
        eventually(lambda: app.get_run_with_states(crowd).steps["work"].tasks[100].status == "completed")
        few = app.start_flow_sync(flows.Few, list(range(50)), timeout=60)
        assert few.completed
        tasks = app.get_run_with_states(crowd).steps["work"].tasks
        assert sum(task.status == "completed" for task in tasks) < 2500, "the crowd was first in line"


@pytest.mark.slow
def test_flows_of_slow_tasks_take_turns_where_there_is_room_for_one_task_only(app, pgflow_dsn, pgflow_conn):
    def named(name):
        class Slow(Flow, slug=name, max_attempts=1):
            @map_step
            def work(item):
                time.sleep(0.12)

        return Slow

    slugs = ["first", "second", "third"]
    for slug in slugs:
        app.compile(named(slug))
    waiting = [app.start_flow(slug, list(range(count))) for slug, count in zip(slugs, [60, 4, 4], strict=True)]
    with working(pgflow_dsn, *map(named, slugs), processes=1):
        eventually(lambda: all(app.get_run(run).completed for run in waiting[1:]))
    order = pgflow_conn.execute("select flow_slug from pgflow.step_tasks order by started_at limit 12").fetchall()
    assert Counter(slug for (slug,) in order) == {"first": 4, "second": 4, "third": 4}


# ---- steps that nobody knows -------------------------------------------------------------------


def flow_in_database_has_one_step_more(app):
    app.compile(FlowDefinition.from_data("deployed", [{"slug": "old"}, {"slug": "new"}]))

    class Deployed(Flow):
        @step
        def old():
            return "done"

    return Deployed


def test_a_task_of_a_step_that_no_worker_knows_fails_after_a_while_and_says_so(app, pgflow_dsn, monkeypatch, caplog):
    monkeypatch.setattr("pgflow_mp.engine.claim.UNKNOWN_STEP_DELAY_SECONDS", 0)
    flow = flow_in_database_has_one_step_more(app)
    with working(pgflow_dsn, flow, unknown_step_timeout=1.0, poll_interval=0.1):
        run_id = app.start_flow("deployed")
        eventually(lambda: app.get_run(run_id).failed)
    state = app.get_run_with_states(run_id).steps["new"]
    assert state.error.startswith("No worker took this task for 1 seconds: flow `deployed` has no step 'new'")
    assert "its steps are old" in state.error
    assert state.tasks[0].attempts == 1, "returning it has cost no attempt"
    warnings = [record for record in caplog.records if "does not know goes back to its queue" in record.getMessage()]
    assert len(warnings) == 1


def test_steps_that_only_another_worker_knows_are_left_to_it(app, pgflow_dsn, monkeypatch, caplog):
    """An old worker beside a new one, as in a rolling deploy: it neither burns attempts nor holds tasks up."""
    monkeypatch.setattr("pgflow_mp.engine.claim.UNKNOWN_STEP_DELAY_SECONDS", 60)
    old = flow_in_database_has_one_step_more(app)

    class Deployed(Flow):
        @step
        def old():
            return "done"

        @step
        def new():
            return os.getpid()

    with working(pgflow_dsn, old), working(pgflow_dsn, Deployed):
        runs = app.start_flows("deployed", [{}] * 30)
        eventually(lambda: all(app.get_run(run).completed for run in runs))
    attempts = {task.attempts for run in runs for task in app.get_run_with_states(run).steps["new"].tasks}
    assert attempts == {1}
    warnings = [record for record in caplog.records if "does not know goes back to its queue" in record.getMessage()]
    assert len(warnings) == 1


@pytest.mark.slow
def test_the_clock_of_an_unknown_step_stands_while_another_worker_is_there(app, pgflow_dsn, pgflow_conn, monkeypatch):
    monkeypatch.setattr("pgflow_mp.engine.claim.UNKNOWN_STEP_DELAY_SECONDS", 0)
    monkeypatch.setattr("pgflow_mp.engine.passing.PASS_SECONDS", 0.2)
    flow = flow_in_database_has_one_step_more(app)

    other = uuid.uuid4()
    execute(
        pgflow_conn,
        register_workers({"deployed": other}, function_name="other", process=this_process(), version="0"),
    )
    assert execute(pgflow_conn, flows_of_other_workers(["deployed"], [])) == {"deployed"}
    assert execute(pgflow_conn, flows_of_other_workers(["deployed"], [other])) == set()
    with working(pgflow_dsn, flow, unknown_step_timeout=0.5, poll_interval=0.1):
        run_id = app.start_flow("deployed")
        eventually(lambda: app.get_run_with_states(run_id).steps["old"].completed)
        time.sleep(1.5)
        assert not app.get_run(run_id).ended
        pgflow_conn.execute("update pgflow.workers set stopped_at = now() where worker_id = %s", (other,))
        eventually(lambda: app.get_run(run_id).failed)
