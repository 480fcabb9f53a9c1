"""freeze and travel: schedules tick, and what was enqueued for later runs, without waiting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from pgflow_mp import Flow, InvalidSchedule, PgflowError, Schedule, job, map_step, step
from pytest_pgflow import FlowFailed

BERLIN = ZoneInfo("Europe/Berlin")
SATURDAY = datetime(2026, 3, 28, 12, 0, tzinfo=BERLIN)  # clocks are put forward in the night that follows
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Nightly(Flow, schedule=Schedule("30 2 * * *", time_zone="Europe/Berlin", input={"kind": "nightly"})):
    @step
    def sweep(flow_input):
        return flow_input["kind"]


@job(schedule=Schedule(every=6 * HOUR, catch_up="all"))
def poll(_):
    return "polled"


@job
def remind(name):
    return f"wake up, {name}"


def test_a_schedule_ticks_at_its_times_and_its_runs_are_worked_off(flow_runner):
    flow_runner.freeze(SATURDAY, Nightly)
    runs = flow_runner.travel(by=2 * DAY)
    assert [run.tick_at.astimezone(BERLIN).strftime("%d. %H:%M") for run in runs] == ["29. 03:00", "30. 02:30"]
    assert [run.output["sweep"] for run in runs] == ["nightly"] * 2


def test_several_schedules_tick_in_order(flow_runner):
    flow_runner.freeze(SATURDAY, Nightly, poll)
    runs = flow_runner.travel(by=DAY)
    assert [run.flow_slug for run in runs] == ["poll", "poll", "nightly", "poll", "poll"]
    assert [run.tick_at for run in runs] == sorted(run.tick_at for run in runs)


def test_time_stands_still_between_journeys(flow_runner):
    flow_runner.freeze(SATURDAY, poll)
    assert flow_runner.travel(by=6 * HOUR - timedelta(seconds=1)) == []
    assert len(flow_runner.travel(by=1)) == 1
    assert len(flow_runner.travel(to=SATURDAY + 12 * HOUR)) == 1
    assert flow_runner.travel(by=0) == []


@pytest.mark.parametrize(("schedule", "number"), [("skip", 0), ("once", 1), ("all", 4)])
def test_after_a_downtime_each_policy_catches_up_as_it_says(flow_runner, schedule, number):
    minutes = job(slug="minutes", schedule=Schedule("30 * * * *", catch_up=schedule))(lambda _: None)
    flow_runner.freeze(SATURDAY, minutes)
    assert len(flow_runner.travel(by=4 * HOUR, downtime=True)) == number
    assert [run.tick_at for run in flow_runner.travel(by=HOUR)] == [SATURDAY + 4.5 * HOUR]


def test_what_was_enqueued_for_later_runs_when_its_time_has_come_and_not_before(flow_runner, pgflow):
    flow_runner.freeze(SATURDAY, remind)
    pgflow.enqueue_at(remind, "Ada", SATURDAY + DAY)
    pgflow.enqueue_in(remind, "Bob", 3600)
    pgflow.enqueue_in(remind, "Eve", 3 * 24 * 3600)
    pgflow.enqueue_at(remind, "now", SATURDAY - DAY)
    assert [run.input for run in flow_runner.travel(by=0)] == ["now"]
    assert [run.input for run in flow_runner.travel(by=2 * DAY)] == ["Bob", "Ada"]
    (last,) = flow_runner.travel(by=2 * DAY)
    assert (last.output, last.tick_at) == ({"remind": "wake up, Eve"}, None)


def test_travelling_without_freezing_begins_now(flow_runner, pgflow):
    pgflow.compile(poll)
    flow_runner.run(poll)
    before = datetime.now(UTC)
    ticks = [run.tick_at for run in flow_runner.travel(by=DAY)]
    assert len(ticks) == 4
    assert all(before < tick < before + DAY + HOUR for tick in ticks)


def test_runs_of_flows_that_the_runner_does_not_know_are_only_started(flow_runner, pgflow):
    flow_runner.freeze(SATURDAY)
    pgflow.compile(poll)
    (run,) = flow_runner.travel(by=6 * HOUR)
    assert (run.status, run.tick_at) == ("started", SATURDAY + 6 * HOUR)


def test_steps_may_have_doubles_and_failures_are_failures(flow_runner):
    flow_runner.freeze(SATURDAY, Nightly)
    (run,) = flow_runner.travel(by=DAY, replace={"sweep": "double"})
    assert run.output == {"sweep": "double"}
    with pytest.raises(FlowFailed, match="step `sweep`"):
        flow_runner.travel(by=DAY, replace={"sweep": AssertionError("no")})
    (run,) = flow_runner.travel(by=DAY, replace={"sweep": AssertionError("no")}, check=False)
    assert run.failed


def test_a_schedule_that_cannot_start_its_flow_is_told(flow_runner, pgflow):
    class Each(Flow):
        @map_step
        def one(item):
            return item

    flow_runner.freeze(SATURDAY, Each)
    pgflow.schedule("each", every=60)
    with pytest.raises(PgflowError, match=r"schedule 'each' could not start each: .* is not an array"):
        flow_runner.travel(by=DAY)


def test_paused_schedules_and_flows_stay_silent(flow_runner, pgflow):
    flow_runner.freeze(SATURDAY, Nightly, poll)
    pgflow.pause_flow(Nightly)
    pgflow.pause_schedule("poll")
    assert flow_runner.travel(by=DAY) == []


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ({}, "say where to"),
        ({"to": SATURDAY, "by": 5}, "say where to"),
        ({"to": SATURDAY.replace(tzinfo=None)}, "to has no time zone"),
        ({"to": SATURDAY - DAY}, "time moves on only"),
        ({"by": -1}, "time moves on only"),
        ({"by": "1h"}, "by= takes a timedelta or seconds"),
    ],
)
def test_a_journey_without_a_destination_is_told(flow_runner, way, said):
    flow_runner.freeze(SATURDAY)
    with pytest.raises(InvalidSchedule, match=said):
        flow_runner.travel(**way)


def test_a_journey_that_takes_too_long_is_told(flow_runner):
    often = job(slug="often", schedule=timedelta(seconds=1))(lambda _: None)
    flow_runner.freeze(SATURDAY, often)
    with pytest.raises(TimeoutError, match=r"the time is up at .*, on the way to|flow `often` did not end"):
        flow_runner.travel(by=DAY, timeout=0.2)


def test_the_clock_is_the_databases_own_again_after_the_test(pytester, server_dsn):
    pytester.makepyfile(
        """
        from datetime import datetime, UTC
        import pytest

        pytestmark = pytest.mark.pgflow(isolation="none")

        def test_one(flow_runner, pgflow_conn):
            flow_runner.freeze(datetime(2020, 1, 1, tzinfo=UTC))
            assert pgflow_conn.execute("select extract(year from pgflow_mp._clock())::int").fetchone() == (2020,)

        def test_two(pgflow_conn):
            assert pgflow_conn.execute("select pgflow_mp._clock() - clock_timestamp() < '1 s'").fetchone() == (True,)
            assert pgflow_conn.execute("select extract(year from pgflow_mp._clock())::int > 2020").fetchone() == (True,)
        """
    )
    pytester.runpytest("--pgflow-dsn", server_dsn, "-p", "no:randomly").assert_outcomes(passed=2)
