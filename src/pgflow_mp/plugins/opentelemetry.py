"""Traces for OpenTelemetry: one trace for each run, one span for each attempt of a task.

    pip install 'pgflow-mp[opentelemetry]'
    pgflow-mp serve app.flows --plugin pgflow_mp.plugins.opentelemetry:OpenTelemetry
    PgFlow(dsn, plugins=["pgflow_mp.plugins.opentelemetry:OpenTelemetry"])

`start_flow` opens a span, in the caller's trace if there is one, and its context goes with the run through the database
into the children, where each attempt's span is below it, with links to the spans of the tasks that its step depends on.
A run that was started without this plugin (SQL, another language) has a trace of its own, whose id is the run's.

A handler runs inside its attempt's span, so what it opens is below that. The spans are made by the tracer provider of
the process: set one up where your flows are imported, in children too. The span of an attempt that is killed is made by
the worker, when its failure is in the database.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate, trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from pgflow_mp import __version__
from pgflow_mp.hooks import hookimpl

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from uuid import UUID

    from opentelemetry.context import Context

    from pgflow_mp.hooks import Carriers, FailureReason, TaskInfo

_SPAN_ID = 2**64 - 1


class OpenTelemetry:
    """Makes spans with the tracer provider of each process."""

    @hookimpl
    def pgflow_run_carrier(self, flow_slug: str, run_id: UUID) -> dict[str, str]:
        carrier: dict[str, str] = {}
        attributes = {"pgflow.flow_slug": flow_slug, "pgflow.run_id": str(run_id)}
        with _tracer().start_as_current_span(f"start {flow_slug}", kind=SpanKind.PRODUCER, attributes=attributes):
            propagate.inject(carrier)
        return carrier

    @hookimpl(wrapper=True)
    def pgflow_call_handler(self, task: TaskInfo, carriers: Carriers) -> Generator[None, Any, Any]:
        with _tracer().start_as_current_span(**_attempt(task, carriers)):
            propagate.inject(carriers.own)
            return (yield)

    @hookimpl
    def pgflow_task_retried(
        self, task: TaskInfo, error: str, reason: FailureReason, seconds: float, carriers: Carriers
    ) -> None:
        if reason in ("timeout", "lost"):
            _span_of_killed(task, error, seconds, carriers)

    @hookimpl
    def pgflow_task_failed(
        self, task: TaskInfo, error: str, reason: FailureReason, seconds: float, carriers: Carriers
    ) -> None:
        if reason in ("timeout", "lost"):
            _span_of_killed(task, error, seconds, carriers)


def _tracer() -> trace.Tracer:
    return trace.get_tracer("pgflow_mp", __version__)


def _attempt(task: TaskInfo, carriers: Carriers) -> dict[str, Any]:
    """Return what all spans of attempts are made of."""
    return {
        "name": f"{task.flow_slug}.{task.step_slug}",
        "context": _context_of(carriers.run, task.run_id),
        "kind": SpanKind.CONSUMER,
        "links": [Link(context) for context in map(_span_context, carriers.parents) if context.is_valid],
        "attributes": {
            "pgflow.flow_slug": task.flow_slug,
            "pgflow.run_id": str(task.run_id),
            "pgflow.step_slug": task.step_slug,
            "pgflow.task_index": task.task_index,
            "pgflow.attempt": task.attempt,
        },
    }


def _span_of_killed(task: TaskInfo, error: str, seconds: float, carriers: Carriers) -> None:
    """Make the span that the child could not end."""
    now = time.time_ns()
    span = _tracer().start_span(**_attempt(task, carriers), start_time=now - int(seconds * 1e9))
    span.set_status(StatusCode.ERROR, error.partition("\n")[0])
    span.end(now)


def _span_context(carrier: Mapping[str, str]) -> SpanContext:
    return trace.get_current_span(propagate.extract(carrier)).get_span_context()


def _context_of(carrier: Mapping[str, str], run_id: UUID) -> Context:
    """Return what a run's spans are below: what its caller passed along, or a trace that follows from its id."""
    if _span_context(carrier).is_valid:
        return propagate.extract(carrier)
    sampled = TraceFlags(TraceFlags.SAMPLED)
    root = SpanContext(run_id.int, run_id.int & _SPAN_ID, is_remote=True, trace_flags=sampled)
    return trace.set_span_in_context(NonRecordingSpan(root))
