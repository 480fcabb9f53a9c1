"""`run.events` and `flow_runner.plugins`: what hooks see of a run, in a test."""

from __future__ import annotations

import pytest

from pgflow_mp import Flow, NonRetryable, map_step, step
from pgflow_mp.hooks import hookimpl


class Order(Flow, base_delay=3600):
    """Charges on the second attempt; audits only large orders."""

    @step
    def charge(flow_input, ctx):
        if ctx.attempt < 2:
            raise ConnectionError("the bank is closed")
        return flow_input["amount"]

    @step(when={"charge": 1000})
    def audit(charge):
        return True


class Parts(Flow):
    """A map whose elements may be hopeless."""

    @map_step(when_exhausted="skip")
    def part(item):
        if item < 0:
            raise NonRetryable("no such part")
        return item


STORY = [
    ("run_started",),
    ("task_started", "charge", 0, 1),
    ("task_retried", "charge", 0, 1),
    ("task_started", "charge", 0, 2),
    ("task_completed", "charge", 0, 2),
    ("step_completed", "charge"),
    ("step_skipped", "audit"),
    ("run_completed",),
]


@pytest.mark.parametrize("executor", ["inline", "process"])
def test_the_events_of_a_run_are_plain_data_in_order(flow_runner, executor):
    run = flow_runner.run(Order, {"amount": 5}, executor=executor, timeout=60)
    assert list(run.events) == STORY


def test_events_tell_what_became_of_a_step_that_gave_up(flow_runner):
    run = flow_runner.run(Parts, [-1])
    assert run.events[1:] == (
        ("task_started", "part", 0, 1),
        ("task_failed", "part", 0, 1),
        ("step_skipped", "part"),
        ("run_completed",),
    )


def test_a_run_has_only_its_own_events(flow_runner):
    runs = flow_runner.run_many(Parts, [[1], [2, 3]])
    assert [len([event for event in run.events if event[0] == "task_completed"]) for run in runs] == [1, 2]


def test_a_run_that_fails_where_it_is_started_tells_so(flow_runner):
    class Strict(Flow):
        @step(when={"ready": True}, when_unmet="fail")
        def begin(flow_input):
            return 1

    failures = []

    class Listener:
        @hookimpl
        def pgflow_run_failed(self, run, error):
            failures.append((run.flow_slug, error))

    flow_runner.plugins.append(Listener())
    run = flow_runner.run(Strict, {}, check=False)
    assert run.events == (("run_started",), ("step_failed", "begin"), ("run_failed",))
    assert failures == [("strict", run.error)]


def test_plugins_of_a_test_hear_decide_and_wrap(flow_runner):
    class Plugin:
        def __init__(self):
            self.around = []

        def pgflow_retry_delay(self, delay):
            return 7 if delay == 7200 else None

        @hookimpl(wrapper=True)
        def pgflow_call_handler(self, task, ctx, input):  # noqa: A002
            self.around.append((task.step_slug, ctx.attempt, input))
            result = yield
            return result * 2

    plugin = Plugin()
    flow_runner.plugins.append(plugin)
    run = flow_runner.run(Order, {"amount": 500})
    assert run.skipped_seconds_of("charge") == pytest.approx(7, abs=1)
    assert [(step, attempt) for step, attempt, _ in plugin.around] == [("charge", 1), ("charge", 2), ("audit", 1)]
    assert plugin.around[2][2] == {"charge": 1000}
    assert run["audit"].output == 2


def test_a_test_is_not_told_to_installed_plugins(flow_runner, monkeypatch):
    from pgflow_mp.hooks import manager

    monkeypatch.setattr(manager, "_entry_points", lambda: pytest.fail("installed plugins were looked for"))
    assert flow_runner.run(Parts, [1]).completed
