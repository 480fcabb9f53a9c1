"""prune and retention: what has been kept long enough goes, and nothing else, by one sweeper at a time."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import psycopg
import pytest

from pgflow_mp import Flow, InvalidInput, PgFlow, map_step, step
from pgflow_mp.core.queries.repair import repair
from pgflow_mp.core.queries.retention import Pruned, sweep
from pgflow_mp.core.statement import execute
from pgflow_mp.engine.link import Link
from pgflow_mp.engine.retention import Sweeper
from tests.core.ask import column, value


class Short(Flow):
    """A flow."""

    @step
    def only(flow_input):
        return flow_input


class Wide(Flow):
    """One with many tasks."""

    @map_step
    def each(item):
        return item


@pytest.fixture
def app(pgflow_dsn):
    with PgFlow(pgflow_dsn) as app:
        app.compile(Short)
        app.compile(Wide)
        yield app


def ended(app, conn, flow, days, *, count=1, size=1):
    """Runs that ended so many days ago, with a task each that is archived."""
    ids = app.start_flows(flow, [list(range(size))] * count)
    step_slug = flow.definition.steps[0].slug
    conn.execute("select pgflow_mp._fail_runs(%s, %s, %s)", (ids, [step_slug] * count, ["no"] * count))
    age(conn, days, ids)
    return ids


def age(conn, days, ids):
    conn.execute(
        "update pgflow.runs set started_at = started_at - make_interval(days => %s), "
        "failed_at = failed_at - make_interval(days => %s) where run_id = any(%s)",
        (days, days, ids),
    )
    queues = column(conn, "select distinct queue_name from pgflow.step_tasks where run_id = any(%s)", ids)
    for queue in queues:
        conn.execute(
            f"update pgmq.a_{queue} set archived_at = archived_at - make_interval(days => %s) "
            "where msg_id in (select message_id from pgflow.step_tasks where run_id = any(%s))",
            (days, ids),
        )


def kept(app):
    return {run.run_id for run in app.list_runs(limit=1000)}


def tables(conn):
    names = ("pgflow.runs", "pgflow.step_states", "pgflow.step_tasks", "pgmq.a_short", "pgmq.a_wide")
    return [value(conn, f"select count(*) from {name}") for name in names]


def swept(conn):
    deleted = Pruned(more=True)
    while deleted.more:
        deleted += execute(conn, sweep(100, 0))
    return deleted


def test_pruning_deletes_what_ended_long_ago_with_all_that_belongs_to_it(app, pgflow_conn):
    ended(app, pgflow_conn, Short, 40)
    recent = ended(app, pgflow_conn, Short, 20)
    going = app.start_flows(Short, [1])
    age(pgflow_conn, 50, going)
    deleted = app.prune(timedelta(days=30))
    assert deleted == Pruned(runs=1, steps=1, tasks=1, archived=1)
    assert kept(app) == {*recent, *going}
    assert tables(pgflow_conn) == [2, 2, 2, 1, 0]
    assert execute(pgflow_conn, repair()) == []
    assert not app.prune(timedelta(days=30))


def test_pruning_may_be_of_some_flows(app, pgflow_conn):
    ended(app, pgflow_conn, Short, 40)
    wide = ended(app, pgflow_conn, Wide, 40, size=3)
    assert app.prune(timedelta(days=1), flow=Short).runs == 1
    assert kept(app) == set(wide)
    assert app.prune(timedelta(days=1), flow=["wide", Short]).tasks == 3


def test_pruning_goes_on_in_batches_until_nothing_is_left(app, pgflow_conn, monkeypatch):
    ended(app, pgflow_conn, Short, 2, count=25)
    ended(app, pgflow_conn, Wide, 2, count=6, size=30)
    calls = []
    run = app._connections.run
    monkeypatch.setattr(app._connections, "run", lambda *given, **named: calls.append(1) or run(*given, **named))
    deleted = app.prune(timedelta(days=1), batch_size=10)
    assert (deleted.runs, deleted.tasks, deleted.archived, deleted.more) == (31, 205, 205, False)
    assert len(calls) > 3
    assert tables(pgflow_conn) == [0, 0, 0, 0, 0]


def test_a_run_that_somebody_holds_is_passed_over(app, pgflow_conn, pgflow_dsn):
    held, _ = ended(app, pgflow_conn, Short, 2, count=2)
    with psycopg.connect(pgflow_dsn) as conn:
        conn.execute("select from pgflow.runs where run_id = %s for update", (held,))
        assert app.prune(timedelta(days=1)).runs == 1
    assert kept(app) == {held}


def test_pruning_may_join_a_transaction(app, pgflow_conn, pgflow_dsn):
    ended(app, pgflow_conn, Short, 2, count=3)
    with psycopg.connect(pgflow_dsn) as conn:
        assert app.prune(timedelta(days=1), batch_size=1, conn=conn).runs == 3
        conn.rollback()
    assert len(kept(app)) == 3


@pytest.mark.parametrize(
    "given", [{"older_than": timedelta(days=-1)}, {"older_than": 30}, {"older_than": timedelta(1), "batch_size": 0}]
)
def test_what_cannot_be_pruned_is_refused(given):
    with PgFlow("dbname=none") as app, pytest.raises(InvalidInput):
        app.prune(**given)


def test_an_installed_database_keeps_runs_for_thirty_days(app, pgflow_conn):
    assert app.get_retention().keep == timedelta(days=30)
    assert str(app.get_retention()) == "for 30 days"
    ended(app, pgflow_conn, Short, 31)
    recent = ended(app, pgflow_conn, Short, 29)
    assert swept(pgflow_conn).runs == 1
    assert kept(app) == set(recent)


def test_a_flow_may_have_a_rule_of_its_own_and_lose_it(app, pgflow_conn):
    app.set_retention(timedelta(days=7), flow=Short)
    app.set_retention(None, flow="wide")
    found = app.get_retention()
    assert found.flows == {"short": timedelta(days=7), "wide": None}
    assert str(found) == "for 30 days (flow short: for 7 days, flow wide: for good)"
    ended(app, pgflow_conn, Short, 8)
    wide = ended(app, pgflow_conn, Wide, 400)
    assert swept(pgflow_conn).runs == 1
    assert kept(app) == set(wide)
    app.set_retention("as others", flow=Wide)
    assert swept(pgflow_conn).runs == 1


def test_retention_may_be_off_for_all(app, pgflow_conn):
    app.set_retention(None)
    old = ended(app, pgflow_conn, Short, 4000)
    assert not swept(pgflow_conn)
    assert kept(app) == set(old)
    assert str(app.get_retention()) == "for good"


@pytest.mark.parametrize(
    "given",
    [{"keep": timedelta(-1)}, {"keep": "as others"}, {"keep": "long", "flow": "short"}, {"keep": 7}],
)
def test_what_is_no_retention_is_refused(given):
    with PgFlow("dbname=none") as app, pytest.raises(InvalidInput):
        app.set_retention(**given)


def test_one_sweeps_at_a_time_and_after_a_full_sweep_nobody_for_a_while(app, pgflow_conn, pgflow_dsn):
    ended(app, pgflow_conn, Short, 40, count=3)
    with psycopg.connect(pgflow_dsn) as first:
        assert execute(first, sweep(1, 0)).more
        assert execute(pgflow_conn, sweep(1, 0)) == Pruned()
    assert execute(pgflow_conn, sweep(100, 600)).runs == 2
    ended(app, pgflow_conn, Short, 40)
    assert execute(pgflow_conn, sweep(100, 600)) == Pruned()
    app.set_retention(timedelta(days=30))
    assert execute(pgflow_conn, sweep(100, 600)).runs == 1, "a new rule holds at once"


def test_workers_sweep_side_by_side_and_say_what_is_kept(app, pgflow_conn, pgflow_dsn, caplog, monkeypatch):
    monkeypatch.setattr("pgflow_mp.engine.retention.BATCH_SIZE", 7)
    monkeypatch.setattr("pgflow_mp.engine.retention.BATCH_PAUSE_SECONDS", 0)
    monkeypatch.setattr("pgflow_mp.engine.retention.FIRST_SECONDS", 0)
    ended(app, pgflow_conn, Short, 40, count=50)

    async def workers():
        sweepers = [asyncio.create_task(Sweeper(Link(pgflow_dsn, f"sweep {n}")).run()) for n in range(3)]
        while await asyncio.to_thread(kept, app):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for sweeper in sweepers:
            sweeper.cancel()
        await asyncio.gather(*sweepers, return_exceptions=True)

    with caplog.at_level(logging.INFO, "pgflow_mp.retention"):
        asyncio.run(asyncio.wait_for(workers(), 30))
    assert "runs are kept for 30 days after their end" in caplog.text
    assert tables(pgflow_conn)[:4] == [0, 0, 0, 0]
