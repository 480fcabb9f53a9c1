"""The real @pgflow/dsl compiles flows, its SQL makes them in our schema, and ours compiles the same to the same."""

from __future__ import annotations

import json

import pytest

from pgflow_mp import Flow, map_step, step
from tests.core.ask import rows, value

from .npm import run

pytestmark = pytest.mark.npm


class AnalyzeWebsite(Flow, slug="analyzeWebsite", max_attempts=3, base_delay=5, timeout=10):
    """Named steps, options of their own, a delayed one, a fan-in."""

    @step
    def website():
        """Done elsewhere."""

    @step(timeout=30, max_attempts=5)
    def sentiment(website):
        """Done elsewhere."""

    @step(start_delay=60, base_delay=2)
    def summary(website):
        """Done elsewhere."""

    @step
    def saveToDb(sentiment, summary):
        """Done elsewhere."""


class Batch(Flow, slug="batch", max_attempts=7, base_delay=1, timeout=120):
    """An array, a map over it, a map over the map, a join of both."""

    @step
    def numbers():
        """Done elsewhere."""

    @map_step(over=numbers, max_attempts=2)
    def square(item):
        """Done elsewhere."""

    @map_step(over=square)
    def again(item):
        """Done elsewhere."""

    @step
    def total(again, numbers):
        """Done elsewhere."""


class EachOne(Flow, slug="eachOne"):
    """A map over the input of the run; no option is said."""

    @map_step
    def one(item):
        """Done elsewhere."""


FLOWS = {flow.definition.slug: flow for flow in (AnalyzeWebsite, Batch, EachOne)}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The statements that the DSL makes of each flow."""
    return run(tmp_path_factory.mktemp("dsl"), "compile.mjs", {})


def stored(conn, slug):
    """All that the tables say of a flow, but when."""
    return [
        rows(conn, f"select to_jsonb(t) - 'created_at' from pgflow.{table} as t where flow_slug = %s order by 1", slug)
        for table in ("flows", "steps", "deps")
    ]


def test_each_flow_was_compiled(compiled):
    assert set(compiled) == set(FLOWS)


@pytest.mark.parametrize("slug", FLOWS)
def test_what_the_dsl_makes_is_what_we_make(db, compiled, slug):
    """generations 8.2; core 3.4, 3.5: maps, options, delays, dependencies, and the order of the steps."""
    with db.transaction(force_rollback=True):
        for statement in compiled[slug]:
            db.execute(statement)
        by_the_dsl = stored(db, slug)
        queues = rows(db, "select queue_name from pgmq.list_queues()")
    shape = json.dumps(FLOWS[slug].definition.shape())
    assert value(db, "select pgflow_mp.compile_flow(%s, %s) ->> 'status'", slug, shape) == "compiled"
    assert stored(db, slug) == by_the_dsl
    assert rows(db, "select queue_name from pgmq.list_queues()") == queues


@pytest.mark.parametrize("slug", FLOWS)
def test_we_verify_what_the_dsl_made(db, compiled, slug):
    """Our worker starts on a flow that a migration of the TypeScript project has made, and changes no option."""
    for statement in compiled[slug]:
        db.execute(statement)
    shape = json.dumps(FLOWS[slug].definition.shape())
    found = value(db, "select pgflow_mp.compile_flow(%s, %s)", slug, shape)
    assert (found["status"], found["differences"], found["options_changed"]) == ("verified", [], [])
    assert value(db, "select pgflow.ensure_flow_compiled(%s, %s::jsonb) ->> 'status'", slug, shape) == "verified"


@pytest.mark.parametrize("slug", FLOWS)
def test_a_migration_that_is_run_again_changes_nothing(db, compiled, slug):
    """core 3.4, 3.5: existing flows and steps stay as they are."""
    for statement in compiled[slug]:
        db.execute(statement)
    before = stored(db, slug)
    for statement in compiled[slug]:
        db.execute(statement)
    assert stored(db, slug) == before
