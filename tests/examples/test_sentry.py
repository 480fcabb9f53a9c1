"""The example for Sentry, with the real SDK and a transport that keeps what it would send."""

from __future__ import annotations

import importlib
import sys

import pytest
import sentry_sdk
from sentry_sdk.transport import Transport

from pgflow_mp import Flow, step
from tests.docs.documents import ROOT


class Wrong(Flow, max_attempts=2):
    @step
    def wrong(ctx):
        raise LookupError("no such order")


class Kept(Transport):
    sent: list = []  # noqa: RUF012 - shared on purpose

    def capture_envelope(self, envelope) -> None:
        self.sent.append(envelope.get_event())


@pytest.fixture
def events():
    sentry_sdk.init(
        dsn="http://key@127.0.0.1/1", transport=Kept, default_integrations=False, auto_enabling_integrations=False
    )
    Kept.sent.clear()
    yield Kept.sent
    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(None)


def test_each_failed_attempt_is_reported_with_its_stack_and_its_task(flow_runner, events, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    flow_runner.plugins.append("sentry_errors")
    run = flow_runner.run(Wrong, check=False)
    sys.modules.pop("sentry_errors")
    assert [event["tags"]["attempt"] for event in events] == ["1", "2"]
    [raised] = events[0]["exception"]["values"]
    assert (raised["type"], raised["value"]) == ("LookupError", "no such order")
    assert raised["stacktrace"]["frames"][-1]["function"] == "wrong"
    assert events[0]["tags"]["run_id"] == str(run.run_id)
    assert (events[0]["tags"]["flow_slug"], events[0]["tags"]["step_slug"]) == ("wrong", "wrong")


def test_what_was_killed_is_reported_by_the_worker(events, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    plugin = importlib.import_module("sentry_errors")
    task = type("Task", (), {"flow_slug": "f", "run_id": 1, "step_slug": "s", "task_index": 0, "attempt": 3})
    plugin.pgflow_task_failed(task, "Task timed out after 1s\nstack", "timeout")
    plugin.pgflow_task_failed(task, "ValueError: x", "raised")
    sys.modules.pop("sentry_errors")
    assert [event["message"] for event in events] == ["Task timed out after 1s"]
