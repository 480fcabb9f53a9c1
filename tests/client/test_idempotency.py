"""Idempotency keys: once means once, one at a time or in bulk, one after the other or all at once."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from pgflow_mp import Flow, FlowNotFound, InvalidInput, PgFlow, map_step, step
from tests.core.ask import value


class Bill(Flow):
    """What shall not happen twice."""

    @step
    def send(flow_input):
        return flow_input


class Spread(Flow):
    """Refuses what is no array."""

    @map_step
    def each(item):
        return item


@pytest.fixture
def app(pgflow_dsn):
    with PgFlow(pgflow_dsn) as app:
        app.compile(Bill)
        app.compile(Spread)
        yield app


def runs(conn):
    return value(conn, "select count(*) from pgflow.runs")


def end(conn, run_id):
    conn.execute("select pgflow_mp._fail_runs(array[%s::uuid], array['send'], array['no'])", (run_id,))


def side_by_side(*calls):
    """Make all calls at once and return their results."""
    results, barrier = [None] * len(calls), threading.Barrier(len(calls))

    def make(place, call):
        barrier.wait(20)
        results[place] = call()

    threads = [threading.Thread(target=make, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_the_same_key_starts_once_and_returns_the_same_run(app, pgflow_conn):
    first = app.start_flow(Bill, {"n": 1}, idempotency_key="order 7")
    assert app.start_flow(Bill, {"n": 2}, idempotency_key="order 7") == first
    assert app.get_run(first).input == {"n": 1}
    assert app.start_flow(Bill, idempotency_key="order 8") != first
    assert app.start_flow(Bill) != first
    assert runs(pgflow_conn) == 3


def test_a_key_belongs_to_its_flow(app):
    assert app.start_flow(Spread, [], idempotency_key="a") != app.start_flow(Bill, idempotency_key="a")


def test_in_bulk_the_first_of_a_key_counts_and_order_is_kept(app, pgflow_conn):
    before = app.start_flow(Bill, "before", idempotency_key="b")
    ids = app.start_flows(Bill, ["1", "2", "3", "4", "5"], idempotency_keys=["a", "b", None, "a", None])
    assert ids[0] == ids[3]
    assert ids[1] == before
    assert [app.get_run(run_id).input for run_id in ids] == ["1", "before", "3", "1", "5"]
    assert runs(pgflow_conn) == 4


def test_calls_at_once_start_one_run(app, pgflow_conn):
    found = side_by_side(*[lambda: app.start_flow(Bill, idempotency_key="once")] * 8)
    assert len(set(found)) == 1
    assert runs(pgflow_conn) == 1


def test_bulk_calls_at_once_with_keys_in_any_order_start_each_once(app, pgflow_conn):
    keys = [f"key {n}" for n in range(200)]

    def start(order):
        return lambda: dict(zip(order, app.start_flows(Bill, order, idempotency_keys=order), strict=True))

    found = side_by_side(start(keys), start(keys[::-1]), start(keys[100:] + keys[:100]))
    assert found[0] == found[1] == found[2]
    assert runs(pgflow_conn) == 200


def test_a_call_waits_for_the_one_before_and_starts_the_run_itself_if_that_is_rolled_back(app, pgflow_dsn):
    with psycopg.connect(pgflow_dsn) as conn:
        lost = app.start_flow(Bill, idempotency_key="k", conn=conn)
        found = []
        waiting = threading.Thread(target=lambda: found.append(app.start_flow(Bill, idempotency_key="k")))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        conn.rollback()
        waiting.join(20)
    assert found != [lost]
    assert app.get_run(found[0]).status == "started"


@pytest.mark.own_core
def test_a_key_is_free_again_when_its_run_is_gone_and_hinders_nobody(app, pgflow_conn):
    first = app.start_flow(Bill, idempotency_key="k")
    end(pgflow_conn, first)
    assert app.start_flow(Bill, idempotency_key="k") == first, "a run that has ended is kept"
    pgflow_conn.execute("select pgflow.prune_data_older_than(interval '0', array['bill'])")
    second = app.start_flow(Bill, idempotency_key="k")
    assert second != first
    app.delete_flow(Bill)
    assert value(pgflow_conn, "select count(*) from pgflow_mp.run_keys") == 0


def test_clients_that_know_no_keys_are_not_hindered(app, pgflow_conn):
    mine = app.start_flow(Bill, idempotency_key="k")
    pgflow_conn.execute("select pgflow.start_flow('bill', '{}')")
    assert app.start_flow(Bill, idempotency_key="k") == mine
    assert runs(pgflow_conn) == 2


def test_unique_while_running_starts_again_after_the_end(app, pgflow_conn):
    first = app.start_flow(Bill, idempotency_key="nightly", unique_while_running=True)
    assert app.start_flow(Bill, idempotency_key="nightly", unique_while_running=True) == first
    end(pgflow_conn, first)
    second = app.start_flow(Bill, idempotency_key="nightly", unique_while_running=True)
    assert second != first
    assert app.start_flow(Bill, idempotency_key="nightly", unique_while_running=True) == second


def test_unique_while_running_without_a_key_is_about_the_whole_flow(app, pgflow_conn):
    first = app.start_flow(Bill, 1, unique_while_running=True)
    assert app.start_flows(Bill, [2, 3], unique_while_running=True) == [first, first]
    end(pgflow_conn, first)
    found = side_by_side(*[lambda: app.start_flow(Bill, unique_while_running=True)] * 6)
    assert len(set(found) - {first}) == 1
    assert runs(pgflow_conn) == 2


def test_jobs_take_keys_too_and_their_time_holds_for_the_first(app, pgflow_conn):
    later = datetime.now(UTC) + timedelta(hours=1)
    first = app.enqueue(Bill, 1, scheduled_at=later, idempotency_key="k")
    assert app.enqueue(Bill, 2, idempotency_key="k") == first
    assert app.enqueue_in(Bill, 5, 60, idempotency_key="k") == first
    assert app.enqueue_at(Bill, 6, later, idempotency_key="k") == first
    assert app.enqueue_many(Bill, [3, 4], delay_seconds=60, idempotency_keys=["k", "l"])[0] == first
    assert value(pgflow_conn, "select count(*) from pgmq.q_bill where vt > now() + interval '30 seconds'") == 2
    assert runs(pgflow_conn) == 2


def test_an_input_that_is_refused_takes_no_key(app, pgflow_conn):
    with pytest.raises(InvalidInput):
        app.start_flows(Spread, [[1], "no array"], idempotency_keys=["a", "b"])
    with pytest.raises(FlowNotFound):
        app.start_flow("unknown", idempotency_key="a")
    assert value(pgflow_conn, "select count(*) from pgflow_mp.run_keys") == 0
    assert app.start_flow(Spread, [1], idempotency_key="a")


@pytest.mark.parametrize("key", ["", "x" * 513, "a\x00b", 7])
def test_what_is_no_key_is_refused_without_asking_the_database(key):
    with PgFlow("dbname=none") as app, pytest.raises(InvalidInput, match="is no idempotency key"):
        app.start_flow(Bill, idempotency_key=key)


def test_there_is_a_key_for_each_run():
    with PgFlow("dbname=none") as app, pytest.raises(InvalidInput, match="2 idempotency keys were given for 3 runs"):
        app.start_flows(Bill, [1, 2, 3], idempotency_keys=["a", "b"])
