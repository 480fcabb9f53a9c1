"""Metrics for Prometheus."""

from __future__ import annotations

import re
from uuid import UUID

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from pgflow_mp import Flow, step
from pgflow_mp.hooks import ChildInfo, Gauges, QueueInfo, TaskInfo
from pgflow_mp.hooks.deciders import metrics_page
from pgflow_mp.hooks.manager import Plugins
from pgflow_mp.plugins.prometheus import Prometheus
from tests.docs.documents import ROOT


class Shaky(Flow, max_attempts=2):
    @step
    def fine(): ...

    @step
    def broken(fine):
        raise ValueError

    @step(depends_on=[fine], when={"fine": {"go": True}}, when_unmet="skip")
    def left_out(): ...


ORDER = ("flow", "queue", "step", "outcome", "reason", "call", "kind")


def samples(plugin: Prometheus) -> dict[tuple[str, ...], float]:
    content_type, page = metrics_page(Plugins.load([plugin], installed=False))
    assert content_type.startswith("text/plain")
    return {
        (sample.name, *(sample.labels[name] for name in ORDER if name in sample.labels)): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_attempts_runs_and_skips_are_counted(flow_runner):
    plugin = Prometheus(CollectorRegistry())
    flow_runner.plugins.append(plugin)
    flow_runner.run(Shaky, check=False)
    seen = samples(plugin)
    assert seen["pgflow_task_attempts_total", "shaky", "fine", "completed"] == 1
    assert seen["pgflow_task_attempts_total", "shaky", "broken", "retried"] == 1
    assert seen["pgflow_task_attempts_total", "shaky", "broken", "failed"] == 1
    assert seen["pgflow_task_seconds_count", "shaky", "broken"] == 2
    assert seen["pgflow_steps_skipped_total", "shaky", "left_out", "condition_unmet"] == 1
    assert seen["pgflow_runs_ended_total", "shaky", "failed"] == 1
    assert seen["pgflow_run_seconds_count", "shaky"] == 1


def test_gauges_are_those_of_the_last_look():
    plugin = Prometheus(CollectorRegistry())
    assert ("pgflow_pool_running",) not in samples(plugin)
    plugin.pgflow_gauges(Gauges((QueueInfo("a", "a", 3, 1, 2.5), QueueInfo("b", "b", 0, 0, None)), 1, 4))
    assert samples(plugin) | {
        ("pgflow_pool_running",): 1,
        ("pgflow_pool_capacity",): 4,
        ("pgflow_queue_ready", "a", "a"): 3,
        ("pgflow_queue_invisible", "a", "a"): 1,
        ("pgflow_queue_oldest_seconds", "a", "a"): 2.5,
        ("pgflow_queue_oldest_seconds", "b", "b"): 0,
    } == samples(plugin)
    plugin.pgflow_gauges(Gauges((), 0, 4))
    assert not [name for name, *_ in samples(plugin) if name.startswith("pgflow_queue")]


def test_trouble_is_counted():
    plugin = Prometheus(CollectorRegistry())
    plugin.pgflow_child_lost(ChildInfo(7, "process"))
    plugin.pgflow_task_timed_out(TaskInfo("shaky", UUID(int=1), "fine", 0, 1))
    plugin.pgflow_poll_failed()
    plugin.pgflow_settle_failed()
    plugin.pgflow_events_dropped(5)
    plugin.pgflow_tasks_claimed((), 0.1)
    plugin.pgflow_tasks_settled(7, 0.1)
    seen = samples(plugin)
    assert seen["pgflow_database_errors_total", "claim"] == seen["pgflow_database_errors_total", "settle"] == 1
    assert seen["pgflow_children_lost_total", "process"] == 1
    assert seen["pgflow_task_timeouts_total", "shaky", "fine"] == 1
    assert seen["pgflow_events_dropped_total",] == 5
    assert seen["pgflow_settle_tasks_sum",] == 7
    assert seen["pgflow_database_seconds_count", "claim"] == 1


def test_the_page_lists_every_metric_and_no_other():
    registry = CollectorRegistry()
    Prometheus(registry).pgflow_gauges(Gauges((), 0, 4))
    made = {family.name + "_total" * (family.type == "counter") for family in registry.collect()}
    rows = re.findall(r"^\| (`pgflow_.*?) \|", (ROOT / "docs/plugins.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == made
