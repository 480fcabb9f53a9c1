"""Queues in which nothing stirs are passed over, and no message is missed by that."""

from __future__ import annotations

import asyncio
import json

import pytest

from pgflow_mp import FlowDefinition
from pgflow_mp.core.queries.queues import stirred_flows
from pgflow_mp.core.queries.tasks import claim_tasks
from pgflow_mp.core.statement import execute
from pgflow_mp.engine import stillness
from pgflow_mp.engine.sources import Source
from pgflow_mp.engine.stillness import FEW_FLOWS, Stillness

SLUGS = ("one", "two", "three")


class Straight:
    """A link over a connection that does not wait."""

    def __init__(self, conn):
        self._conn = conn

    async def run(self, statement):
        return execute(self._conn, statement)


@pytest.fixture
def flows(pgflow):
    for slug in SLUGS:
        pgflow.upsert_flow(slug, [{"slug": "a"}])
    return pgflow


def ask(conn, marks):
    return execute(conn, stirred_flows(list(marks), list(marks.values())))


def test_an_empty_queue_gets_a_mark_and_is_left_out_until_a_message_comes(flows, pgflow_conn):
    marks = ask(pgflow_conn, dict.fromkeys(SLUGS, -1))
    assert marks == dict.fromkeys(SLUGS, 0)
    assert ask(pgflow_conn, marks) == {}
    flows.start_flow("two")
    assert ask(pgflow_conn, marks) == {"two": None}


def test_hidden_messages_count_and_an_emptied_queue_gets_a_later_mark(flows, pgflow_conn):
    flows.enqueue("one", {}, delay_seconds=600)
    assert ask(pgflow_conn, {"one": 0}) == {"one": None}
    assert ask(pgflow_conn, {"one": 1}) == {}, "numbered so far, as a mark says"
    pgflow_conn.execute("select pgmq.purge_queue('one')")
    assert ask(pgflow_conn, {"one": -1}) == {"one": 1}


def test_a_flow_with_a_queue_for_each_step_stirs_with_any_of_them(pgflow_conn):
    wide = FlowDefinition.from_data("wide", [{"slug": "a"}, {"slug": "b"}])
    pgflow_conn.execute("select pgflow._create_flow_from_shape('wide', %s, 'step')", [json.dumps(wide.shape())])
    marks = ask(pgflow_conn, {"wide": -1, "gone": -1})
    assert marks == {"wide": 0}
    pgflow_conn.execute("select pgflow.start_flow('wide', '{}')")
    assert ask(pgflow_conn, marks) == {"wide": None}
    pgflow_conn.execute("select pgmq.drop_queue('wide__a')")
    pgflow_conn.execute("select pgmq.drop_queue('wide__b')")
    assert ask(pgflow_conn, marks) == {}, "a claim would tell what is wrong with it"


def sources(slugs):
    return [Source(slug, "process", "", frozenset(), is_rest=True) for slug in slugs]


def test_few_flows_are_looked_into_without_asking():
    few = sources(f"flow_{number}" for number in range(FEW_FLOWS))
    assert asyncio.run(Stillness(None).stirred(few)) == few


def test_of_many_flows_those_that_stir_are_looked_into_and_some_in_turn(flows, pgflow_conn, monkeypatch):
    monkeypatch.setattr(stillness, "FEW_FLOWS", 2)
    monkeypatch.setattr(stillness, "BLIND_LOOKS", 1)
    still = Stillness(Straight(pgflow_conn))
    flows.start_flow("two")

    def look():
        return [source.flow_slug for source in asyncio.run(still.stirred(sources(SLUGS)))]

    assert [look() for _ in range(3)] == [["one", "two"], ["two"], ["two", "three"]]
    execute(pgflow_conn, claim_tasks(list(SLUGS), [None] * 3, [1] * 3))
    pgflow_conn.execute("select pgmq.purge_queue('two')")
    still.found_nothing(["two"])
    assert [look() for _ in range(3)] == [["one"], ["two"], ["three"]]
    still.forget(["three"])
    assert ask(pgflow_conn, {"three": still._marks.get("three", -1)}) == {"three": 0}
