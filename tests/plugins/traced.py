"""Flows whose spans are kept, and what makes a child keep its own in a file."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from pgflow_mp import Flow, map_step, step
from pgflow_mp.hooks import hookimpl
from pgflow_mp.plugins.opentelemetry import OpenTelemetry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

SPANS = "PGFLOW_TEST_SPANS"


class LineExporter(SpanExporter):
    """Appends each span to a file, in one write."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        lines = "".join(json.dumps(json.loads(span.to_json(indent=None))) + "\n" for span in spans)
        file = os.open(os.environ[SPANS], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, lines.encode())
        finally:
            os.close(file)
        return SpanExportResult.SUCCESS


def keep_spans() -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(LineExporter()))
    trace.set_tracer_provider(provider)


class Traced(OpenTelemetry):
    @hookimpl
    def pgflow_child_init(self) -> None:
        keep_spans()


class Stuck(Flow, max_attempts=1, timeout=1):
    @step
    def hang():
        time.sleep(60)


class Diamond(Flow, max_attempts=2, base_delay=1):
    @step
    def start(flow_input):
        return [1, 2]

    @map_step(over=start)
    def each(item, ctx):
        if item == 2 and ctx.attempt == 1:
            raise ValueError("not yet")
        with trace.get_tracer("app").start_as_current_span("inside"):
            return item

    @step
    def other(start): ...

    @step
    async def join(each, other): ...
