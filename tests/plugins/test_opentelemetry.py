"""One trace for each run, from the caller through the database into the children."""

from __future__ import annotations

import json

import pytest
from opentelemetry import trace

from pgflow_mp.client import PgFlow
from tests.engine.harness import eventually, working
from tests.plugins import traced


@pytest.fixture(scope="module", autouse=True)
def _provider():
    traced.keep_spans()


@pytest.fixture
def spans(tmp_path, monkeypatch):
    file = tmp_path / "spans"
    file.touch()
    monkeypatch.setenv(traced.SPANS, str(file))
    return lambda: [json.loads(line) for line in file.read_text().splitlines()]


def named(spans, name):
    return [span for span in spans if span["name"] == name]


def ids(span):
    return span["context"]["trace_id"], span["context"]["span_id"]


def test_a_run_is_one_trace_below_its_caller_with_links_to_what_a_step_depends_on(pgflow_dsn, spans):
    plugin = "tests.plugins.traced:Traced"
    with PgFlow(pgflow_dsn, plugins=[plugin]) as app:
        app.compile(traced.Diamond)
        with working(pgflow_dsn, traced.Diamond, plugins=[plugin]):
            with trace.get_tracer("test").start_as_current_span("request") as request:
                run_id = app.start_flow(traced.Diamond)
            eventually(lambda: app.get_run(run_id).completed)
    found = spans()
    assert {span["context"]["trace_id"] for span in found} == {f"0x{request.get_span_context().trace_id:032x}"}
    [asked], [began] = named(found, "request"), named(found, "start diamond")
    assert began["parent_id"] == asked["context"]["span_id"]
    [start], [join], [other] = (named(found, f"diamond.{step}") for step in ("start", "join", "other"))
    each = named(found, "diamond.each")
    assert {span["parent_id"] for span in [start, join, other, *each]} == {began["context"]["span_id"]}
    attempts = sorted((span["attributes"]["pgflow.attempt"], span["status"]["status_code"]) for span in each)
    assert attempts == [(1, "ERROR"), (1, "UNSET"), (2, "UNSET")]
    good = [span for span in each if span["status"]["status_code"] == "UNSET"]
    assert {ids({"context": link["context"]}) for link in join["links"]} == {ids(span) for span in [*good, other]}
    assert [ids({"context": link["context"]}) for link in other["links"]] == [ids(start)]
    inside = named(found, "inside")
    assert {span["parent_id"] for span in inside} == {span["context"]["span_id"] for span in good}
    assert join["attributes"]["pgflow.run_id"] == str(run_id)


def test_the_span_of_an_attempt_that_is_killed_is_made_by_the_worker(pgflow_dsn, spans):
    plugin = "tests.plugins.traced:Traced"
    with PgFlow(pgflow_dsn, plugins=[plugin]) as app:
        app.compile(traced.Stuck)
        with working(pgflow_dsn, traced.Stuck, plugins=[plugin]):
            run_id = app.start_flow(traced.Stuck)
            eventually(lambda: app.get_run(run_id).failed)
    [began], [killed] = named(spans(), "start stuck"), named(spans(), "stuck.hang")
    assert (killed["context"]["trace_id"], killed["parent_id"]) == ids(began)
    assert killed["status"] == {"status_code": "ERROR", "description": "Task timed out after 1s"}


def test_a_run_that_was_started_without_the_plugin_has_a_trace_of_its_own(flow_runner, pgflow_conn, spans):
    flow_runner.plugins.append(traced.OpenTelemetry())
    runs = flow_runner.run_many(traced.Diamond, [{}, {}])
    assert all(run.completed for run in runs)
    assert len({span["context"]["trace_id"] for span in spans()}) == 2
    pgflow_conn.execute("delete from pgflow_mp.carriers")
