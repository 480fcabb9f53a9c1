"""Jobs that begin later: stored at once, invisible until they are due."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import psycopg
import pytest

from pgflow_mp import AsyncPgFlow, Flow, FlowNotFound, InvalidInput, InvalidSchedule, PgFlow, job, map_step, step
from pgflow_mp.errors import StepNotFound


@job
def remind(person):
    return f"wake up, {person}"


@job(start_delay=100)
def dawdle(_=None):
    return None


class Trip(Flow):
    """Two roots, one of them a map: a flow may begin later too."""

    @map_step
    def pack(item):
        return item

    @step
    def book(flow_input):
        return len(flow_input)

    @step
    def leave(pack, book):
        return [pack, book]


@pytest.fixture
def app(pgflow_dsn):
    with PgFlow(pgflow_dsn) as app:
        for flow in (remind, dawdle, Trip):
            app.compile(flow)
        yield app


def waits(conn, slug="remind"):
    """Seconds until each message of a flow becomes visible; those that are visible count as 0."""
    found = conn.execute(
        f"select extract(epoch from greatest(vt - clock_timestamp(), '0'))::float8 from pgmq.q_{slug} order by msg_id"
    )
    return [row[0] for row in found.fetchall()]


def test_a_job_is_enqueued_to_run_now(app, pgflow_conn):
    run = app.get_run(app.enqueue(remind, "Ada"))
    assert (run.flow_slug, run.status, run.input) == ("remind", "started", "Ada")
    assert waits(pgflow_conn) == [0]
    assert app.get_run(app.enqueue("remind")).input == {}


def test_a_delayed_run_is_there_at_once_and_its_message_invisible(app, pgflow_conn):
    run_id = app.enqueue_in(remind, "Ada", 3600)
    run = app.get_run_with_states(run_id)
    assert (run.status, run.steps["remind"].status, run.steps["remind"].tasks[0].status) == (
        "started",
        "started",
        "queued",
    )
    assert waits(pgflow_conn) == [pytest.approx(3600, abs=30)]


def test_a_delay_of_nothing_is_now(app, pgflow_conn):
    app.enqueue_in(remind, "Ada", 0)
    assert waits(pgflow_conn) == [0]


def test_any_time_zone_is_the_same_instant(app, pgflow_conn):
    due = datetime.now(UTC) + timedelta(hours=1)
    zones = [UTC, ZoneInfo("Asia/Kathmandu"), ZoneInfo("America/New_York"), timezone(timedelta(hours=-3, minutes=-30))]
    for zone in zones:
        app.enqueue_at(remind, "Ada", due.astimezone(zone))
    seen = pgflow_conn.execute("select vt from pgmq.q_remind").fetchall()
    assert all(abs((vt - due).total_seconds()) < 0.01 for (vt,) in seen)


def test_the_two_times_that_are_called_half_past_two_are_two_instants(app, pgflow_conn):
    year = datetime.now(UTC).year + 1
    last_sunday = max(day for day in range(25, 32) if date(year, 10, day).weekday() == 6)
    twice = datetime(year, 10, last_sunday, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    app.enqueue_at(remind, "Ada", twice)
    app.enqueue_at(remind, "Ada", twice.replace(fold=1))
    first, second = waits(pgflow_conn)
    assert second - first == pytest.approx(3600, abs=30)


def test_a_time_that_has_passed_is_now(app, pgflow_conn):
    app.enqueue_at(remind, "Ada", datetime(1999, 12, 31, tzinfo=UTC))
    assert waits(pgflow_conn) == [0]


def test_a_delay_comes_before_the_start_delay_of_the_step(app, pgflow_conn):
    app.enqueue_in(dawdle, None, 1000)
    assert waits(pgflow_conn, "dawdle") == [pytest.approx(1100, abs=30)]


def test_all_roots_of_a_flow_begin_later(app, pgflow_conn):
    app.enqueue(Trip, ["hat", "map"], delay_seconds=500)
    assert waits(pgflow_conn, "trip") == [pytest.approx(500, abs=30)] * 3


def test_many_jobs_are_enqueued_in_one_round_trip_and_in_order(app, pgflow_conn):
    ids = app.enqueue_many(remind, list(range(1000)), delay_seconds=60)
    inputs = dict(pgflow_conn.execute("select run_id, input from pgflow.runs").fetchall())
    assert [inputs[run_id] for run_id in ids] == list(range(1000))
    assert min(waits(pgflow_conn)) > 30


def test_one_bad_input_of_many_starts_nothing(app, pgflow_conn):
    with pytest.raises(InvalidInput):
        app.enqueue_many(remind, [1, {2}, 3])
    assert pgflow_conn.execute("select count(*) from pgflow.runs").fetchone() == (0,)


def test_a_job_of_a_transaction_that_is_rolled_back_never_was(app, pgflow_dsn, pgflow_conn):
    with psycopg.connect(pgflow_dsn) as conn:
        app.enqueue(remind, "Ada", delay_seconds=10, conn=conn)
        app.enqueue_in(remind, "Ada", 10, conn=conn)
        app.enqueue_at(remind, "Ada", datetime.now(UTC), conn=conn)
        conn.rollback()
    assert waits(pgflow_conn) == []


@pytest.mark.parametrize("delay", [-1, 0.5, "10", True, None, 2**31, timedelta(seconds=3)], ids=repr)
def test_a_delay_is_a_whole_number_of_seconds(app, pgflow_conn, delay):
    with pytest.raises(InvalidSchedule, match="delay_seconds must be"):
        app.enqueue_in(remind, "Ada", delay)
    assert waits(pgflow_conn) == []


@pytest.mark.parametrize("moment", [date(2030, 1, 1), "2030-01-01T00:00:00Z", 0, None], ids=repr)
def test_a_time_is_a_datetime(app, moment):
    with pytest.raises(InvalidSchedule, match="must be a datetime with a time zone"):
        app.enqueue_at(remind, "Ada", moment)


def test_a_time_without_a_zone_is_refused_with_what_to_do(app):
    with pytest.raises(InvalidSchedule, match=r"no time zone, so 2030-01-01 08:00:00 is another instant .* tzinfo="):
        app.enqueue_at(remind, "Ada", datetime(2030, 1, 1, 8))


def test_there_is_one_time_only(app):
    with pytest.raises(InvalidSchedule, match="not both"):
        app.enqueue(remind, "Ada", delay_seconds=1, scheduled_at=datetime.now(UTC))


def test_an_unknown_job_is_told(app):
    with pytest.raises(FlowNotFound, match="flow `remember` is not in this database"):
        app.enqueue_in("remember", "Ada", 10)


def test_the_awaited_face_enqueues_too(app, pgflow_dsn, pgflow_conn):
    async def main():
        async with AsyncPgFlow(pgflow_dsn) as awaited:
            await awaited.enqueue_in(remind, "Ada", 60)
            await awaited.enqueue_at(remind, "Ada", datetime.now(UTC))
            return await awaited.enqueue_many(remind, ["Bob", "Eve"])

    assert len(asyncio.run(main())) == 2
    assert len(waits(pgflow_conn)) == 4


# With the runner


@job
def subscribe(name, ctx):
    with PgFlow(DSN[0]) as app:
        app.enqueue_in(remind, name, 24 * 3600)
    return name


DSN = []


def test_the_runner_skips_the_delay_of_a_scheduled_job_and_tells(app, flow_runner):
    app.enqueue_in(remind, "Ada", 3600)
    (run,) = flow_runner.drain(remind)
    assert run.output == {"remind": "wake up, Ada"}
    assert run.skipped_seconds == pytest.approx(3600, abs=30)
    assert run.skipped_seconds_of("remind") == run.skipped_seconds


def test_the_runner_waits_for_a_scheduled_job_when_it_is_told_to(app, flow_runner):
    app.enqueue_in(remind, "Ada", 1)
    (run,) = flow_runner.drain(remind, skip_delays=False)
    assert run.skipped_seconds == 0
    assert (run.completed_at - run.started_at).total_seconds() > 0.9


def test_the_runner_works_off_what_others_have_started_and_what_that_starts(app, flow_runner, pgflow_dsn):
    DSN[:] = [pgflow_dsn]
    app.compile(subscribe)
    app.enqueue_many(subscribe, ["Ada", "Bob"])
    runs = flow_runner.drain(remind, subscribe)
    assert {(run.flow_slug, run.input) for run in runs[:2]} == {("subscribe", "Ada"), ("subscribe", "Bob")}
    assert {run.output["remind"] for run in runs[2:]} == {"wake up, Ada", "wake up, Bob"}
    assert flow_runner.drain(remind, subscribe) == []


def test_a_double_of_no_step_of_the_drained_flows_is_told(app, flow_runner):
    app.enqueue(remind, "Ada")
    assert flow_runner.drain(remind, Trip, replace={"remind": "psst"})[0].output == {"remind": "psst"}
    with pytest.raises(StepNotFound, match="none of remind, trip has a step 'rewind'; their steps are book, leave"):
        flow_runner.drain(remind, Trip, replace={"rewind": 1})
