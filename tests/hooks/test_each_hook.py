"""Every hook by itself, on one worker that meets all fates; and that none is left out here."""

from __future__ import annotations

from types import SimpleNamespace

import psycopg
import pytest

import pgflow_mp
from pgflow_mp import PgFlow
from pgflow_mp.hooks import hookimpl, specs
from pgflow_mp.hooks.manager import Plugins
from pytest_pgflow import factories
from tests.engine.harness import eventually, working
from tests.engine.recording import Recorder
from tests.hooks.flows import Fates, Nothing, Unwanted

hooks_dsn = factories.dsn(scope="module")

SEVER = """
select count(pg_terminate_backend(pid)) from pg_stat_activity
where datname = current_database() and application_name = %s
"""


class Decider:
    """Decides and wraps, and leaves traces of both in what the run says."""

    def pgflow_retry_delay(self, task, error, reason, delay):
        return 0.25 if reason == "raised" and error.startswith("ConnectionError") and delay == 0 else None

    def pgflow_run_carrier(self, flow_slug):
        return {"from": flow_slug}

    def pgflow_metrics(self):
        return "text/plain", b"a page"

    def pgflow_child_init(self, child):
        self.kind = child.kind

    @hookimpl(wrapper=True)
    def pgflow_call_handler(self, task, carriers):
        result = yield
        return {"sum": result, "in": self.kind, **carriers.run} if task.step_slug == "ending" else result

    def pgflow_encode_payload(self, task, value):
        return {"stored": value} if task.step_slug == "each" else None

    def pgflow_decode_payload(self, value):
        return value["stored"] if isinstance(value, dict) and "stored" in value else None


@pytest.fixture(scope="module")
def told(hooks_dsn):
    """What a worker and a client have told, after one run of each kind; nothing is told later."""
    recorder = Recorder()
    plugins = Plugins.load([recorder, Decider()], installed=False)
    with PgFlow(hooks_dsn, plugins=plugins) as app, psycopg.connect(hooks_dsn, autocommit=True) as conn:
        compiled = [app.compile(flow) for flow in (Fates, Unwanted, Nothing)]
        with working(hooks_dsn, Fates, processes=1, plugins=plugins) as worker:
            eventually(lambda: recorder.of("worker_started"))
            run = {
                "fine": app.start_flow(Fates, {"begin": "retry", "elements": 2}),
                "failed": app.start_flow(Fates, {"ending": "fail"}),
                "unwanted": app.start_flow(Unwanted),
                "nothing": app.start_flow(Nothing),
            }
            for run_id in run.values():
                eventually(lambda run_id=run_id: app.get_run(run_id).ended)
            for purpose, lost in (("claim", "poll_failed"), ("settle", "settle_failed")):
                conn.execute(SEVER, [f"pgflow-mp {purpose}"])
                run[purpose] = app.start_flow(Fates)
                eventually(lambda lost=lost: recorder.of(lost))
            for ending in ("hang", "die"):
                run[ending] = app.start_flow(Fates, {"ending": ending})
            for run_id in run.values():
                eventually(lambda run_id=run_id: app.get_run(run_id).ended)
            ids = dict(worker.status().workers)
        found = {name: app.get_run_with_states(run_id) for name, run_id in run.items()}
    return SimpleNamespace(recorder=recorder, of=recorder.of, run=found, worker_ids=ids, compiled=compiled)


def of_run(told, hook, run):
    """The events of one hook about one run."""
    subjects = ("task", "step", "run")
    return [
        event
        for event in told.of(hook)
        if any(name in event and event[name].run_id == told.run[run].run_id for name in subjects)
    ]


def test_pgflow_worker_started_names_the_worker(told):
    (event,) = told.of("worker_started")
    worker = event["worker"]
    assert (worker.name, worker.version) == ("python", pgflow_mp.__version__)
    assert dict(worker.worker_ids) == told.worker_ids


def test_pgflow_worker_stopping_comes_after_all_work_was_begun(told):
    names = told.recorder.names()
    assert names.count("worker_stopping") == 1
    assert "task_started" not in names[names.index("worker_stopping") :]


def test_pgflow_worker_stopped_comes_last(told):
    assert told.recorder.names()[-1] == "worker_stopped"
    assert told.of("worker_stopped")[0]["left_claimed"] == 0


def test_pgflow_child_started_is_told_of_each_child_that_replaces_another(told):
    children = [event["child"] for event in told.of("child_started")]
    lost = [event["child"] for event in told.of("child_lost")]
    assert len(lost) == 2
    assert children[:2] == lost  # one child at a time, and each begins with its number
    assert {child.kind for child in children} == {"process"}
    assert len({child.pid for child in children}) == len(children)


def test_pgflow_child_lost_tells_cause_and_task(told):
    by_run = {event["tasks"][0].run_id: event for event in told.of("child_lost")}
    hung, died = (by_run[told.run[name].run_id] for name in ("hang", "die"))
    assert hung["cause"] == "killed: its task was past its time"
    assert died["cause"].startswith("Worker process died: killed by SIGKILL")
    assert {hung["exit_code"], died["exit_code"]} == {-9}


def test_pgflow_tasks_claimed_has_every_attempt_that_started(told):
    claimed = [task for event in told.of("tasks_claimed") for task in event["tasks"]]
    assert {event["task"] for event in told.of("task_started")} == set(claimed)
    assert {task.worker_id for task in claimed} == set(told.worker_ids.values())
    assert all(event["seconds"] > 0 for event in told.of("tasks_claimed"))


def test_pgflow_task_started_comes_before_the_end_of_the_attempt(told):
    story = told.recorder.of_run(told.run["fine"].run_id)
    for line in story:
        if line.startswith(("task_completed", "task_retried")):
            started = line.replace("completed", "started").replace("retried", "started")
            assert story.index(started) < story.index(line)


def test_pgflow_task_completed_tells_how_long_it_took(told):
    completed = of_run(told, "task_completed", "fine")
    assert sorted((event["task"].step_slug, event["task"].task_index) for event in completed) == [
        ("begin", 0),
        ("each", 0),
        ("each", 1),
        ("ending", 0),
    ]
    assert all(0 <= event["seconds"] < 10 for event in completed)


def test_pgflow_task_timed_out_comes_before_what_became_of_the_task(told):
    assert of_run(told, "task_timed_out", "hang")[0]["seconds"] >= 1
    story = [line for line in told.recorder.of_run(told.run["hang"].run_id) if " ending " in line]
    assert story == [
        "task_started ending 1",
        "task_timed_out ending 1",
        "task_failed ending 1",
    ]


def test_pgflow_task_retried_tells_why_and_when_again(told):
    (event,) = of_run(told, "task_retried", "fine")
    assert event["error"].startswith("ConnectionError: not yet")
    assert event["reason"] == "raised"
    assert 0.1 < event["delay"] <= 0.25


def test_pgflow_task_failed_tells_why(told):
    reasons = {name: of_run(told, "task_failed", name)[0]["reason"] for name in ("failed", "hang", "die")}
    assert reasons == {"failed": "raised", "hang": "timeout", "die": "lost"}
    (event,) = of_run(told, "task_failed", "failed")
    assert event["task"].attempt == 1
    assert event["error"] == told.run["failed"].steps["ending"].error


def test_pgflow_tasks_settled_counts_what_was_applied(told):
    ends = sum(len(told.of(hook)) for hook in ("task_completed", "task_failed", "task_retried"))
    assert sum(event["applied"] for event in told.of("tasks_settled")) == ends
    assert all(event["count"] >= event["applied"] for event in told.of("tasks_settled"))


def test_pgflow_step_completed_is_told_of_steps_without_tasks_too(told):
    assert [event["step"].step_slug for event in of_run(told, "step_completed", "fine")] == ["begin", "each", "ending"]
    assert [event["step"].step_slug for event in of_run(told, "step_completed", "failed")] == ["begin", "each"]


def test_pgflow_step_failed_tells_the_error(told):
    (event,) = of_run(told, "step_failed", "failed")
    assert (event["step"].step_slug, event["error"]) == ("ending", told.run["failed"].error)


def test_pgflow_step_skipped_tells_why(told):
    (event,) = of_run(told, "step_skipped", "fine")
    assert (event["step"].step_slug, event["reason"]) == ("extra", "condition_unmet")


def test_pgflow_run_started_is_told_by_the_client(told):
    assert {event["run"].run_id for event in told.of("run_started")} == {run.run_id for run in told.run.values()}
    (event,) = of_run(told, "run_started", "fine")
    assert (event["run"].started_at, event["run"].ended_at) == (told.run["fine"].started_at, None)


@pytest.mark.parametrize("run", ["fine", "nothing", "claim", "settle"])
def test_pgflow_run_completed_is_told_once_wherever_it_ended(told, run):
    (event,) = of_run(told, "run_completed", run)
    assert event["run"].ended_at == told.run[run].completed_at


@pytest.mark.parametrize("run", ["failed", "unwanted", "hang", "die"])
def test_pgflow_run_failed_is_told_once_with_the_error_of_the_run(told, run):
    (event,) = of_run(told, "run_failed", run)
    assert event["run"].ended_at == told.run[run].failed_at
    assert event["error"] == told.run[run].error
    assert event["run"].seconds >= 0


def test_pgflow_flow_compiled_tells_what_was_done(told):
    assert [event["flow_slug"] for event in told.of("flow_compiled")] == ["fates", "unwanted", "nothing"]
    assert {event["status"] for event in told.of("flow_compiled")} == {compiled.status for compiled in told.compiled}


def test_pgflow_poll_failed_tells_why_and_when_again(told):
    event = told.of("poll_failed")[0]
    assert event["error"]
    assert 0 < event["delay"] <= 5


def test_pgflow_settle_failed_tells_why_and_when_again(told):
    event = told.of("settle_failed")[0]
    assert event["count"] == 1
    assert event["error"]
    assert 0 < event["delay"] <= 5


def test_pgflow_gauges_measure_queues_and_pool(told):
    gauges = told.of("gauges")[0]["gauges"]
    assert [(queue.flow_slug, queue.queue_name) for queue in gauges.queues] == [("fates", "fates")]
    assert gauges.capacity == 1
    assert gauges.running in (0, 1)


def test_pgflow_events_dropped_is_not_told_where_nothing_was_dropped(told):
    """tests/hooks/test_observers.py has what happens where something was."""
    assert told.of("events_dropped") == []


def test_pgflow_retry_delay_decides_when_the_next_attempt_starts(told):
    begin = told.run["fine"].steps["begin"]
    assert begin.attempts == 2
    assert (begin.completed_at - begin.started_at).total_seconds() >= 0.25  # the step's own delay is 0


def test_pgflow_run_carrier_reaches_the_handlers(told):
    assert told.run["fine"].steps["ending"].output["from"] == "fates"


def test_pgflow_metrics_is_the_page_of_the_endpoint():
    from pgflow_mp.hooks.deciders import metrics_page

    assert metrics_page(Plugins.load([Decider()], installed=False)) == ("text/plain", b"a page")


def test_pgflow_child_init_runs_in_the_child_before_its_first_task(told):
    assert told.run["fine"].steps["ending"].output["in"] == "process"


def test_pgflow_call_handler_is_around_the_call_in_the_child(told):
    assert told.run["fine"].steps["ending"].output == {"sum": 1, "in": "process", "from": "fates"}


def test_pgflow_encode_payload_changes_what_is_stored(told):
    assert told.run["fine"].steps["each"].output == [{"stored": 0}, {"stored": 1}]


def test_pgflow_decode_payload_changes_what_a_handler_gets(told):
    assert told.run["fine"].steps["ending"].output["sum"] == 1  # of what was stored it could not make a sum


def test_every_hook_has_a_test_of_its_own():
    for hook in specs.NAMES:
        assert any(name.startswith(f"test_{hook}_") for name in globals()), hook
