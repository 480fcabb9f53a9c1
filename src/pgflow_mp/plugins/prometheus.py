"""Metrics for Prometheus: tasks, runs, queues, the pool, and what it costs to talk to the database.

    pip install 'pgflow-mp[prometheus]'
    pgflow-mp serve app.flows --plugin pgflow_mp.plugins.prometheus:Prometheus --http 127.0.0.1:8080

They are in prometheus_client's registry, with whatever else the process has there. All children report through their
worker, so no multiprocess mode is needed. Queues and pool are measured every 10 seconds and are those of the last look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pgflow_mp.hooks import hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgflow_mp.hooks import ChildInfo, Gauges, RunInfo, StepInfo, TaskInfo

STEP = ("flow", "step")
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
QUEUE_GAUGES = {
    "ready": "Messages to take",
    "invisible": "Messages delayed or with a worker",
    "oldest_seconds": "Age of the oldest message to take",
}
SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500)


class Prometheus:
    """Counts events, in prometheus_client's own registry unless another is given."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        self.attempts = self._counter("task_attempts", "By outcome: completed, retried, failed", *STEP, "outcome")
        self.timeouts = self._counter("task_timeouts", "Attempts whose time was up", *STEP)
        self.seconds = self._histogram("task_seconds", "How long handlers ran", SECONDS, *STEP)
        self.skips = self._counter("steps_skipped", "Skipped steps", *STEP, "reason")
        self.ended = self._counter("runs_ended", "By outcome: completed, failed", "flow", "outcome")
        self.run_seconds = self._histogram("run_seconds", "From start to end", SECONDS, "flow")
        self.children_lost = self._counter("children_lost", "Died, or were killed with a late task", "kind")
        self.claimed = self._histogram("claim_tasks", "Tasks of a claim", SIZES)
        self.settled = self._histogram("settle_tasks", "Outcomes of a settlement", SIZES)
        self.trips = self._histogram("database_seconds", "Round trips: claim, settle", SECONDS, "call")
        self.errors = self._counter("database_errors", "Failed round trips: claim, settle", "call")
        self.dropped = self._counter("events_dropped", "Events that are missing in these metrics")
        self.gauges = _Gauges()
        registry.register(self.gauges)

    @hookimpl
    def pgflow_metrics(self) -> tuple[str, bytes]:
        return CONTENT_TYPE_LATEST, generate_latest(self.registry)

    @hookimpl
    def pgflow_tasks_claimed(self, tasks: tuple[TaskInfo, ...], seconds: float) -> None:
        self.claimed.observe(len(tasks))
        self.trips.labels("claim").observe(seconds)

    @hookimpl
    def pgflow_tasks_settled(self, count: int, seconds: float) -> None:
        self.settled.observe(count)
        self.trips.labels("settle").observe(seconds)

    @hookimpl
    def pgflow_task_completed(self, task: TaskInfo, seconds: float) -> None:
        self._count(task, "completed", seconds)

    @hookimpl
    def pgflow_task_retried(self, task: TaskInfo, seconds: float) -> None:
        self._count(task, "retried", seconds)

    @hookimpl
    def pgflow_task_failed(self, task: TaskInfo, seconds: float) -> None:
        self._count(task, "failed", seconds)

    @hookimpl
    def pgflow_task_timed_out(self, task: TaskInfo) -> None:
        self.timeouts.labels(task.flow_slug, task.step_slug).inc()

    @hookimpl
    def pgflow_step_skipped(self, step: StepInfo, reason: str) -> None:
        self.skips.labels(step.flow_slug, step.step_slug, reason).inc()

    @hookimpl
    def pgflow_run_completed(self, run: RunInfo) -> None:
        self._end(run, "completed")

    @hookimpl
    def pgflow_run_failed(self, run: RunInfo) -> None:
        self._end(run, "failed")

    @hookimpl
    def pgflow_child_lost(self, child: ChildInfo) -> None:
        self.children_lost.labels(child.kind).inc()

    @hookimpl
    def pgflow_poll_failed(self) -> None:
        self.errors.labels("claim").inc()

    @hookimpl
    def pgflow_settle_failed(self) -> None:
        self.errors.labels("settle").inc()

    @hookimpl
    def pgflow_gauges(self, gauges: Gauges) -> None:
        self.gauges.last = gauges

    @hookimpl
    def pgflow_events_dropped(self, count: int) -> None:
        self.dropped.inc(count)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"pgflow_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"pgflow_{name}", text, labels, buckets=buckets, registry=self.registry)

    def _count(self, task: TaskInfo, outcome: str, seconds: float) -> None:
        self.attempts.labels(task.flow_slug, task.step_slug, outcome).inc()
        self.seconds.labels(task.flow_slug, task.step_slug).observe(seconds)

    def _end(self, run: RunInfo, outcome: str) -> None:
        self.ended.labels(run.flow_slug, outcome).inc()
        if run.seconds is not None:
            self.run_seconds.labels(run.flow_slug).observe(run.seconds)


class _Gauges(Collector):
    """The last look, as a whole: a queue that is gone is gone at once, and a scrape never sees half of it."""

    last: Gauges | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        last = self.last
        if last is None:
            return
        yield GaugeMetricFamily("pgflow_pool_running", "Tasks with this worker", last.running)
        yield GaugeMetricFamily("pgflow_pool_capacity", "Tasks that can run at once", last.capacity)
        for name, text in QUEUE_GAUGES.items():
            family = GaugeMetricFamily(f"pgflow_queue_{name}", text, labels=("flow", "queue"))
            for queue in last.queues:
                family.add_metric((queue.flow_slug, queue.queue_name), getattr(queue, name) or 0.0)
            yield family
