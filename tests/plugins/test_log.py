"""A line in the log for each event."""

from __future__ import annotations

import json
import logging

import pytest
import structlog

from pgflow_mp import Flow, step
from pgflow_mp.hooks import specs
from pgflow_mp.plugins.log import FieldLog, JsonLog, KeyValueLog


class Shaky(Flow, max_attempts=2):
    @step
    def fine(): ...

    @step
    def broken(fine):
        raise ValueError("two words")


@pytest.fixture
def records(flow_runner, caplog):
    def run(plugin: object) -> list[logging.LogRecord]:
        flow_runner.plugins.append(plugin)
        with caplog.at_level(logging.DEBUG, logger="pgflow_mp.events"):
            flow_runner.run(Shaky, check=False)
        return [record for record in caplog.records if record.name == "pgflow_mp.events"]

    return run


def test_each_event_is_a_line_of_key_and_value_with_its_ids(records):
    found = records(KeyValueLog())
    assert [(record.event, record.levelname) for record in found] == [
        ("run_started", "INFO"),
        ("task_started", "DEBUG"),
        ("task_completed", "INFO"),
        ("task_started", "DEBUG"),
        ("task_retried", "WARNING"),
        ("task_started", "DEBUG"),
        ("task_failed", "ERROR"),
        ("run_failed", "ERROR"),
    ]
    retried = found[4]
    assert retried.getMessage().startswith(f"task_retried flow_slug=shaky run_id={retried.run_id} step_slug=broken ")
    assert 'reason=raised error="ValueError: two words" ' in retried.getMessage()
    assert (retried.task_index, retried.attempt, retried.delay) == (0, 1, pytest.approx(10, abs=5))
    assert all("\n" not in record.getMessage() for record in found)


def test_the_same_as_json_and_as_fields_alone(records):
    json_log, fields = JsonLog(), FieldLog()
    found = records(json_log)
    told = [json.loads(record.getMessage()) for record in found]
    assert told[-1]["event"] == "run_failed"
    assert told[-1]["error"] == "ValueError: two words"
    assert told[2].keys() >= {"flow_slug", "run_id", "step_slug", "task_index", "attempt", "worker_id", "seconds"}
    assert fields.line("run_failed", {"run_id": "1"}) == "run_failed"


def test_what_a_plugin_logs_reads_well_in_structlog(records):
    record = records(FieldLog())[-1]
    shown = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
    ).format(record)
    assert json.loads(shown)["event"] == "run_failed"
    assert json.loads(shown)["flow_slug"] == "shaky"


def test_a_flow_that_was_compiled_is_told_with_what_differed(caplog):
    with caplog.at_level(logging.INFO, logger="pgflow_mp.events"):
        KeyValueLog().pgflow_flow_compiled("orders", "recompiled", ("step added",))
    assert [record.getMessage() for record in caplog.records] == [
        'flow_compiled flow_slug=orders status=recompiled differences="[\\"step added\\"]"'
    ]


@pytest.mark.parametrize(
    ("event", "arguments", "line"),
    [
        (
            "poll_failed",
            {"error": "the server is away", "delay": 0.5},
            'poll_failed error="the server is away" delay=0.5',
        ),
        ("settle_failed", {"count": 2, "error": "away", "delay": 1.0}, "settle_failed count=2 error=away delay=1.0"),
        ("events_dropped", {"count": 7}, "events_dropped count=7"),
    ],
)
def test_trouble_is_a_warning(caplog, event, arguments, line):
    assert f"pgflow_{event}" in specs.OBSERVERS
    with caplog.at_level(logging.INFO, logger="pgflow_mp.events"):
        getattr(KeyValueLog(), f"pgflow_{event}")(**arguments)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("WARNING", line)]
