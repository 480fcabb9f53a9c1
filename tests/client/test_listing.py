"""list_runs: filters, and pages that lose and repeat nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest

from pgflow_mp import Flow, InvalidCursor, InvalidInput, PgFlow, step


class First(Flow):
    """A flow."""

    @step
    def only(flow_input):
        return flow_input


class Second(Flow):
    """Another flow."""

    @step
    def only(flow_input):
        return flow_input


@pytest.fixture
def app(pgflow_dsn):
    with PgFlow(pgflow_dsn, flows=[First, Second]) as app:
        app.compile(First)
        app.compile(Second)
        yield app


def move(conn, run_id, started_at):
    conn.execute("update pgflow.runs set started_at = %s where run_id = %s", (started_at, run_id))


def ids(page):
    return [run.run_id for run in page]


def test_the_latest_comes_first_whatever_its_flow(app):
    started = [app.start_flow(flow, {"n": n}) for n, flow in enumerate([First, Second, First])]
    page = app.list_runs()
    assert ids(page) == started[::-1]
    assert page.next is None
    assert page[0].input == {"n": 2}
    assert len(page[:2]) == 2


def test_a_page_of_nothing_is_empty_and_the_last(app):
    page = app.list_runs()
    assert (list(page), page.next) == ([], None)


def test_pages_tell_each_run_once_also_where_all_were_started_at_once(app):
    started = app.start_flows(First, range(7)) + app.start_flows(Second, range(4))
    told, after = [], None
    for _ in range(4):
        page = app.list_runs(after=after, limit=3)
        told += ids(page)
        after = page.next
        app.start_flow(First)  # what starts meanwhile moves nothing
    assert after is None
    assert sorted(told) == sorted(started)


def test_a_page_that_is_just_full_has_no_next(app):
    app.start_flows(First, range(3))
    assert app.list_runs(limit=3).next is None
    assert app.list_runs(limit=2).next is not None


def test_runs_of_some_flows(app):
    first, second = app.start_flow(First), app.start_flow(Second)
    assert ids(app.list_runs(flow=First)) == [first]
    assert ids(app.list_runs(flow="second")) == [second]
    assert ids(app.list_runs(flow=[First, "second"])) == [second, first]
    assert ids(app.list_runs(flow="unknown")) == []
    assert ids(app.list_runs(flow=[])) == []


def test_runs_of_a_status(app, pgflow_conn):
    going, ended = app.start_flow(First), app.start_flow(Second)
    pgflow_conn.execute("select pgflow_mp._fail_runs(array[%s::uuid], array['only'], array['no'])", (ended,))
    assert ids(app.list_runs(status="started")) == [going]
    assert ids(app.list_runs(status=["completed", "failed"])) == [ended]
    assert app.list_runs(status="failed")[0].error == "no"
    with pytest.raises(InvalidInput, match=r"'cancelled'; statuses are started, completed, failed; .*cancelled=True"):
        app.list_runs(status="cancelled")


def test_runs_that_were_cancelled_and_those_that_failed_by_themselves(app, pgflow_conn):
    cancelled, failed = app.start_flow(First), app.start_flow(Second)
    app.cancel_run(cancelled)
    pgflow_conn.execute("select pgflow_mp._fail_runs(array[%s::uuid], array['only'], array['no'])", (failed,))
    assert ids(app.list_runs(cancelled=True)) == [cancelled]
    assert ids(app.list_runs(cancelled=False)) == [failed]
    assert ids(app.list_runs(status="failed")) == [failed, cancelled]


def test_runs_between_two_instants_in_any_time_zone(app, pgflow_conn):
    noon = datetime(2026, 3, 29, 12, tzinfo=UTC)
    early, at_noon, late = app.start_flows(First, range(3))
    for run_id, hours in ((early, -1), (at_noon, 0), (late, 1)):
        move(pgflow_conn, run_id, noon + timedelta(hours=hours))
    assert ids(app.list_runs(started_after=noon)) == [late, at_noon]
    assert ids(app.list_runs(started_before=noon)) == [early]
    berlin = noon.astimezone(ZoneInfo("Europe/Berlin"))
    assert ids(app.list_runs(started_after=berlin, started_before=berlin + timedelta(minutes=1))) == [at_noon]
    with pytest.raises(InvalidInput, match="has no time zone"):
        app.list_runs(started_after=datetime(2026, 3, 29, 12))
    with pytest.raises(InvalidInput, match="started_before must be a datetime"):
        app.list_runs(started_before="2026-03-29")


def test_runs_whose_input_contains_something(app):
    one, other = app.start_flows(First, [{"customer": 7, "items": [1, 2]}, {"customer": 8, "items": [2]}])
    assert ids(app.list_runs(input_contains={"customer": 7})) == [one]
    assert set(ids(app.list_runs(input_contains={"items": [2]}))) == {other, one}
    assert ids(app.list_runs(input_contains=None)) == []
    with pytest.raises(InvalidInput):
        app.list_runs(input_contains={1, 2})


@pytest.mark.parametrize("cursor", ["", "page 2", "2026-01-01/7", "2026-01-01T00:00:00/" + "0" * 32])
def test_a_text_that_was_no_next_is_refused_without_asking_the_database(cursor):
    with PgFlow("dbname=none") as app, pytest.raises(InvalidCursor, match="next"):
        app.list_runs(after=cursor)


@pytest.mark.parametrize("limit", [0, -1, 1001, "5"])
def test_a_page_has_its_bounds(limit):
    with PgFlow("dbname=none") as app, pytest.raises(InvalidInput, match="1 to 1000"):
        app.list_runs(limit=limit)


def test_a_list_may_be_read_in_the_callers_transaction(app, pgflow_dsn):
    with psycopg.connect(pgflow_dsn) as conn:
        mine = app.start_flow(First, conn=conn)
        assert ids(app.list_runs(conn=conn)) == [mine]
        assert ids(app.list_runs()) == []
