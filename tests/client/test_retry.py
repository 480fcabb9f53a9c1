"""retry_run: a new run that repeats one that has ended, whole or from what failed."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from pgflow_mp import Flow, InvalidRunId, NonRetryable, PgFlow, RunNotFound, RunNotRetryable, map_step, step
from pgflow_mp.core.queries.repair import repair
from pgflow_mp.core.statement import execute
from pgflow_mp.engine import workoff

CALLS: list[str] = []
BROKEN: set[str] = set()


def called(name):
    CALLS.append(name)
    if name in BROKEN:
        raise NonRetryable(name)


class Shop(Flow, base_delay=0):
    """Two branches that meet; maps over what is kept and what is not; skips of each kind."""

    @step
    def order(flow_input):
        called("order")
        return [1, 2, 3]

    @map_step(over=order)
    def price(item):
        called("price")
        return item * 10

    @step(unless={"order": [1, 2, 3]})
    def apologise(order=None):
        called("apologise")

    @step(when_exhausted="skip")
    def advertise(order):
        called("advertise")

    @step
    def charge(price, apologise=None):
        called("charge")
        return sum(price)

    @map_step(over=price)
    def label(item):
        called("label")
        return f"<{item}>"

    @step
    def ship(charge, label, advertise=None):
        called("ship")
        return [charge, *label]


class Each(Flow):
    """A map over the input."""

    @map_step
    def each(item):
        return item


@pytest.fixture
def app(pgflow_dsn):
    CALLS.clear()
    BROKEN.clear()
    with PgFlow(pgflow_dsn) as app:
        app.compile(Shop)
        yield app


def work_off(conn, run_id):
    CALLS.clear()
    assert workoff.work_off(conn, [Shop.definition], [run_id], out_of_time=lambda: False).finished
    assert execute(conn, repair()) == []
    return sorted(CALLS)


def failed_at(app, conn, *names):
    """A run that failed because of these steps, which work from now on."""
    BROKEN.update(names)
    run_id = app.start_flow(Shop, {"customer": 7})
    work_off(conn, run_id)
    assert app.get_run(run_id).failed
    BROKEN.clear()
    return run_id


def test_a_whole_retry_repeats_everything_with_the_same_input(app, pgflow_conn):
    failed = failed_at(app, pgflow_conn, "charge")
    retried = app.retry_run(failed)
    assert "order" in work_off(pgflow_conn, retried)
    run = app.get_run(retried)
    assert (run.completed, run.retry_of, run.input) == (True, failed, {"customer": 7})
    assert app.get_run(failed).failed, "the run that it repeats stays as it is"


def test_from_failed_keeps_what_completed_and_repeats_the_rest(app, pgflow_conn):
    failed = failed_at(app, pgflow_conn, "ship")
    retried = app.retry_run(str(failed), from_failed=True)
    run = app.get_run_with_states(retried)
    assert run.steps["order"].completed
    assert run.steps["price"].output == [10, 20, 30]
    assert (run.steps["apologise"].skip_reason, run.steps["order"].tasks) == ("condition_unmet", ())
    assert work_off(pgflow_conn, retried) == ["ship"]
    assert app.get_run(retried).output == {"ship": [60, "<10>", "<20>", "<30>"]}


def test_a_map_over_a_kept_step_gets_its_size_and_a_failed_map_is_repeated_whole(app, pgflow_conn):
    retried = app.retry_run(failed_at(app, pgflow_conn, "price"), from_failed=True)
    assert work_off(pgflow_conn, retried).count("price") == 3
    assert "order" not in CALLS
    assert app.get_run(retried).completed


def test_a_step_that_was_skipped_because_it_failed_begins_again_and_what_depends_on_it_too(app, pgflow_conn):
    failed = failed_at(app, pgflow_conn, "advertise", "ship")
    assert app.get_run_with_states(failed).steps["advertise"].skip_reason == "handler_failed"
    assert work_off(pgflow_conn, app.retry_run(failed, from_failed=True)) == ["advertise", "ship"]


def test_a_retry_of_the_first_step_is_a_whole_one(app, pgflow_conn):
    retried = app.retry_run(failed_at(app, pgflow_conn, "order"), from_failed=True)
    assert len(work_off(pgflow_conn, retried)) == 10
    assert app.get_run(retried).completed


def test_a_retry_may_be_retried_and_names_the_run_before(app, pgflow_conn):
    first = failed_at(app, pgflow_conn, "ship")
    BROKEN.add("ship")
    second = app.retry_run(first, from_failed=True)
    assert work_off(pgflow_conn, second) == ["ship"]
    BROKEN.clear()
    third = app.retry_run(second, from_failed=True)
    assert work_off(pgflow_conn, third) == ["ship"]
    assert app.get_run(third).retry_of == second


def test_a_cancelled_run_goes_on_where_it_was(app, pgflow_conn):
    run_id = app.start_flow(Shop)
    app.cancel_run(run_id)
    retried = app.retry_run(run_id, from_failed=True)
    assert not app.get_run(retried).cancelled
    work_off(pgflow_conn, retried)
    assert app.get_run(retried).completed


def test_a_root_map_gets_its_size_from_the_input(app):
    app.compile(Each)
    retried = app.retry_run(app.cancel_run(app.start_flow(Each, [1, 2, 3])).run_id, from_failed=True)
    assert len(app.get_run_with_states(retried).steps["each"].tasks) == 3


def test_what_cannot_be_retried_is_told_apart(app, pgflow_conn):
    run_id = app.start_flow(Shop)
    with pytest.raises(RunNotRetryable, match="still going"):
        app.retry_run(run_id)
    work_off(pgflow_conn, run_id)
    with pytest.raises(RunNotRetryable, match="nothing of it failed"):
        app.retry_run(run_id, from_failed=True)
    assert app.get_run(app.retry_run(run_id)).status == "started"
    with pytest.raises(RunNotFound):
        app.retry_run(uuid.uuid4())
    with pytest.raises(InvalidRunId):
        app.retry_run("seven")


def test_a_retry_holds_if_and_only_if_the_callers_transaction_commits(app, pgflow_dsn, pgflow_conn):
    failed = failed_at(app, pgflow_conn, "ship")
    with psycopg.connect(pgflow_dsn) as conn:
        retried = app.retry_run(failed, from_failed=True, conn=conn)
        conn.rollback()
    with pytest.raises(RunNotFound):
        app.get_run(retried)


@pytest.mark.own_core
def test_a_retry_outlives_the_run_that_it_repeats(app, pgflow_conn):
    failed = failed_at(app, pgflow_conn, "ship")
    retried = app.retry_run(failed, from_failed=True)
    pgflow_conn.execute("select pgflow.prune_data_older_than(interval '0', array['shop'])")
    with pytest.raises(RunNotFound):
        app.get_run(failed)
    assert app.get_run(retried).retry_of == failed
