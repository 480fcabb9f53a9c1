"""Observers hear what the database applied: all of it, once, in order, and off the path of the work."""

from __future__ import annotations

import threading

import psycopg
import pytest

from pgflow_mp import Flow, PgflowError, PluginError, step
from pgflow_mp.client import PgFlow
from pgflow_mp.hooks import hookimpl
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


def test_a_settlement_whose_answer_was_lost_is_told_once(app, pgflow_dsn):
    """D-5: it is sent again, and the second answer is the one that counts."""
    app.compile(flows.Sums)
    recorder = Recorder()
    with working(pgflow_dsn, flows.Sums, plugins=[recorder]) as worker:
        lost = lose_answers(worker._links["settle"], 3)
        run_id = app.start_flow(flows.Sums, {"count": 5})
        ended(app, run_id)
    assert not lost
    told = recorder.of_run(run_id)
    assert told.count("run_completed") == 1
    assert told.count("task_completed square 1") == 5
    assert len([line for line in told if line.startswith("step_completed")]) == 3
    assert len(recorder.of("settle_failed")) == 3


def lose_answers(link, times):
    """Have the connection break just after the database has done what it was asked for."""
    left = list(range(times))
    run = link.run

    async def run_and_lose(statement):
        answer = await run(statement)
        if left and "settle_tasks" in statement.sql:
            left.pop()
            raise psycopg.OperationalError("the answer was lost")
        return answer

    link.run = run_and_lose
    return left


def test_a_late_result_is_not_told(app, pgflow_dsn, pgflow_conn, tmp_path):
    app.compile(flows.Marked)
    recorder = Recorder()
    marks = tmp_path / "marks"
    with working(pgflow_dsn, flows.Marked, plugins=[recorder]):
        run_id = app.start_flow(flows.Marked, {"marks": str(marks), "seconds": 1})
        eventually(marks.exists)
        pgflow_conn.execute("update pgflow.step_tasks set last_worker_id = null where run_id = %s", [run_id])
        eventually(lambda: recorder.of("tasks_settled"))
    assert recorder.of_run(run_id) == ["task_started work 1"]
    assert [event["applied"] for event in recorder.of("tasks_settled")] == [0]


def test_an_observer_that_hangs_holds_up_neither_claims_nor_results(app, pgflow_dsn):
    app.compile(flows.Echo)
    may_go_on = threading.Event()

    class Hanging:
        heard = 0

        def pgflow_task_completed(self, task):
            may_go_on.wait(30)
            self.heard += 1

    hanging = Hanging()
    with working(pgflow_dsn, flows.Echo, plugins=[hanging]):
        run_id = app.start_flow(flows.Echo, list(range(50)))
        assert ended(app, run_id).completed  # it would never be, if anything waited for the observer
        assert hanging.heard == 0
        may_go_on.set()
    assert hanging.heard == 50


def test_an_observer_that_raises_is_named_and_harms_nothing(app, pgflow_dsn, caplog):
    class Broken:
        def pgflow_task_completed(self, task):
            raise LookupError(f"nothing about {task.step_slug}")

    app.compile(flows.Sums)
    recorder = Recorder()
    with working(pgflow_dsn, flows.Sums, plugins=[recorder, Broken()]):
        run_id = app.start_flow(flows.Sums, {"count": 1})
        assert ended(app, run_id).completed
    assert recorder.of_run(run_id)[-1] == "run_completed"
    assert "plugin `Broken` failed in pgflow_task_completed (1 so far)" in caplog.text
    assert "LookupError: nothing about numbers" in caplog.text


class Everywhere(Flow):
    """A step in each executor."""

    @step
    def process():
        return 1

    @step
    async def awaited():
        return 2

    @step(executor="thread")
    def thread():
        return 3


class Tenfold:
    """An object that travels to the children."""

    def __init__(self):
        self.kinds = []

    def pgflow_child_init(self, child):
        self.kinds.append(child.kind)

    @hookimpl(wrapper=True)
    def pgflow_call_handler(self):
        return [(yield) * 10, *self.kinds]


def test_handlers_are_wrapped_in_every_executor_by_an_object_that_each_child_has_a_copy_of(app, pgflow_dsn):
    app.compile(Everywhere)
    with working(pgflow_dsn, Everywhere, processes=1, plugins=[Tenfold()]):
        run = ended(app, app.start_flow(Everywhere))
    assert run.output == {"process": [10, "process"], "awaited": [20, "async"], "thread": [30]}


def test_an_object_that_cannot_get_to_the_children_ends_the_worker_at_its_start(app, pgflow_dsn):
    app.compile(flows.Echo)
    plugin = Tenfold()
    plugin.lock = threading.Lock()
    with (
        pytest.raises(PluginError, match="plugin `Tenfold` has hooks that run in child processes"),
        working(pgflow_dsn, flows.Echo, plugins=[plugin]) as worker,
    ):
        eventually(lambda: worker._fleet._closing)


def test_a_child_whose_plugin_does_not_begin_says_why(app, pgflow_dsn):
    class Refusing:
        def pgflow_child_init(self, child):
            raise RuntimeError("no licence")

    app.compile(flows.Echo)
    with (
        pytest.raises(PgflowError, match=r"(?s)no child process can be started: .*RuntimeError: no licence"),
        working(pgflow_dsn, flows.Echo, processes=1, plugins=[Refusing()]) as worker,
    ):
        eventually(lambda: worker._fleet._closing)
