"""When a schedule ticks: cron expressions where clocks are changed, intervals, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgflow_mp import DefinitionError, Flow, FlowDefinition, InvalidSchedule, Job, Schedule, job, map_step, step

BERLIN = ZoneInfo("Europe/Berlin")
SPRING, AUTUMN = datetime(2026, 3, 29, tzinfo=BERLIN), datetime(2026, 10, 25, tzinfo=BERLIN)  # clocks change at 2 and 3
START = datetime(2026, 1, 1, tzinfo=UTC)


def ticks(schedule, after, number, zone=BERLIN):
    """The next ticks as a clock on the wall shows them, with the offset."""
    found = []
    for _ in range(number):
        after = schedule.next_tick(after, START)
        found.append(after.astimezone(zone).strftime("%d. %H:%M%z"))
    return found


def in_berlin(cron):
    return Schedule(cron, time_zone="Europe/Berlin")


def test_a_time_of_day_that_is_skipped_in_spring_ticks_when_the_hour_is_over():
    assert ticks(in_berlin("30 2 * * *"), SPRING - timedelta(hours=12), 2) == ["29. 03:00+0200", "30. 02:30+0200"]


def test_a_time_of_day_that_comes_twice_in_autumn_ticks_once():
    assert ticks(in_berlin("30 2 * * *"), AUTUMN - timedelta(hours=12), 2) == ["25. 02:30+0200", "26. 02:30+0100"]


def test_what_ticks_every_half_hour_goes_on_while_clocks_are_changed():
    halves = in_berlin("*/30 * * * *")
    assert ticks(halves, SPRING.replace(hour=1), 3) == ["29. 01:30+0100", "29. 03:00+0200", "29. 03:30+0200"]
    assert ticks(halves, AUTUMN.replace(hour=2), 4) == [
        "25. 02:30+0200",
        "25. 02:00+0100",
        "25. 02:30+0100",
        "25. 03:00+0100",
    ]


def test_no_tick_is_before_the_moment_that_it_follows_also_in_the_hour_that_comes_twice():
    second_time = AUTUMN.replace(hour=2, minute=10, fold=1)
    tick = in_berlin("30 2 * * *").next_tick(second_time, START)
    assert tick.astimezone(BERLIN) == datetime(2026, 10, 26, 2, 30, tzinfo=BERLIN)


def test_the_latest_tick_is_found_also_from_within_the_hour_that_comes_twice():
    second_time = AUTUMN.replace(hour=2, minute=10, fold=1)
    latest = in_berlin("30 2 * * *").latest_tick(second_time, START)
    assert latest.astimezone(BERLIN).strftime("%d. %H:%M%z") == "25. 02:30+0200"


def test_a_tick_at_this_very_moment_is_the_latest():
    noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert Schedule("0 12 * * *").latest_tick(noon, START) == noon
    assert Schedule("0 12 * * *").latest_tick(noon + timedelta(milliseconds=5), START) == noon
    assert Schedule(every=3600).latest_tick(noon, START) == noon


def test_an_interval_ticks_on_its_grid_whenever_one_looks():
    minutes = Schedule(every=timedelta(minutes=10))
    assert minutes.next_tick(START, START) == START + timedelta(minutes=10)
    assert minutes.next_tick(START + timedelta(minutes=17), START) == START + timedelta(minutes=20)
    assert minutes.latest_tick(START + timedelta(minutes=17), START) == START + timedelta(minutes=10)


def test_an_interval_whose_beginning_lies_in_the_future_ticks_all_the_same():
    # The clock was wrong when it was made.
    assert Schedule(every=60).next_tick(START, START + timedelta(days=900, seconds=7)) == START + timedelta(seconds=7)


@given(
    st.sampled_from(["30 2 * * *", "*/30 * * * *", "0 * * * *", "15 1-3 * * SUN", "0 0 1 * *", "*/20 2 * * *"]),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Asia/Kathmandu"]),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),
)
def test_ticks_follow_each_other_and_the_latest_is_the_one_before_the_next(cron, zone, moment):
    schedule = Schedule(cron, time_zone=zone)
    moment = moment.replace(tzinfo=UTC)
    following = [moment]
    for _ in range(5):
        following.append(schedule.next_tick(following[-1], START))
    assert all(one < other for one, other in pairwise(following))
    latest = schedule.latest_tick(moment, START)
    assert latest <= moment
    assert schedule.next_tick(latest, START) == following[1]


def test_names_of_common_expressions_are_known():
    assert ticks(Schedule("@daily"), START, 1, UTC) == ticks(Schedule("0 0 * * *"), START, 1, UTC)
    assert ticks(Schedule("@Hourly"), START, 1, UTC) == ["01. 01:00+0000"]


def test_six_fields_begin_with_seconds():
    assert Schedule("*/5 * * * * *").next_tick(START, START) == START + timedelta(seconds=5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "give cron= or every="),
        ({"cron": "0 9 * * *", "every": 5}, "give cron= or every="),
        ({"cron": "0 9 * *"}, "'0 9 \\* \\*' is no cron expression: wrong number of fields"),
        ({"cron": "61 9 * * *"}, "bad minute; it has five fields"),
        ({"cron": "0 0 31 4 *"}, "bad day-of-month"),
        ({"cron": "@dayly"}, "did you mean `@daily`"),
        ({"cron": 5}, "cron must be a text"),
        (
            {"cron": "0 9 * * *", "time_zone": "Europe/Berlim"},
            "no time zone 'Europe/Berlim' .did you mean `Europe/Berl",
        ),
        ({"cron": "0 9 * * *", "time_zone": "/etc/passwd"}, "there is no time zone"),
        ({"cron": "0 9 * * *", "time_zone": None}, "there is no time zone None"),
        ({"every": 0.5}, "at least 1"),
        ({"every": timedelta(0)}, "at least 1"),
        ({"every": -3}, "at least 1"),
        ({"every": True}, "every must be a timedelta or seconds"),
        ({"every": float("nan")}, "every must be a timedelta or seconds"),
        ({"every": "1h"}, "every must be a timedelta or seconds"),
        ({"every": 60, "time_zone": "Europe/Berlin"}, "time_zone= is for cron expressions"),
        ({"every": 60, "catch_up": "always"}, "catch_up must be one of 'skip', 'once', 'all'"),
        ({"every": 60, "name": ""}, "the name of a schedule is a printable text"),
        ({"every": 60, "name": "x" * 129}, "at most 128 characters"),
        ({"every": 60, "input": {1, 2}}, "set"),
    ],
)
def test_what_is_no_schedule_is_told(arguments, said):
    with pytest.raises(InvalidSchedule, match=said):
        Schedule(**arguments)


@dataclass
class Window:
    days: int


def test_the_input_is_kept_as_plain_data():
    assert Schedule("@daily", input=Window(3)).input == {"days": 3}
    assert Schedule("@daily", input=None).input is None


# Declared with the code


class Nightly(Flow, schedule=Schedule("0 3 * * *", time_zone="Europe/Berlin", input={"full": False})):
    @step
    def sweep():
        pass


@job(schedule=timedelta(minutes=5))
def poll():
    pass


class Often(Job, schedule=["@hourly"]):
    def perform():
        pass


class Seldom(Often):
    pass


def test_a_flow_declares_when_it_starts_by_itself():
    (schedule,) = Nightly.definition.schedules
    assert (schedule.name, schedule.cron, schedule.input) == ("nightly", "0 3 * * *", {"full": False})
    assert [(each.name, each.every) for each in poll.schedules] == [("poll", timedelta(minutes=5))]
    assert [(each.name, each.cron) for each in Often.definition.schedules] == [("often", "@hourly")]


def test_a_schedule_is_not_inherited():
    assert Seldom.definition.schedules == ()


def test_a_flow_of_plain_data_declares_one_too():
    flow = FlowDefinition.from_data("tidy", [{"slug": "tidy"}], schedule="@daily")
    assert [(each.name, each.cron) for each in flow.schedules] == [("tidy", "@daily")]


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("0 9 * *", "class Wrong: schedule: '0 9 . .' is no cron expression"),
        (5, "class Wrong: schedule: schedule takes a Schedule, a cron expression or a timedelta"),
        (["@daily", "@hourly"], "needs a name of its own"),
        ([Schedule("@daily", name="x"), Schedule("@hourly", name="x")], "needs a name of its own"),
    ],
)
def test_a_wrong_schedule_is_told_when_the_class_is_made(schedule, said):
    with pytest.raises(DefinitionError, match=said):

        class Wrong(Flow, schedule=schedule):
            @step
            def only():
                pass


def test_an_input_that_the_flow_does_not_take_is_told_when_it_is_made():
    with pytest.raises(DefinitionError, match=r"job `clean`, schedule `clean`: .*takes `Window` as the run's input"):

        @job(schedule=Schedule("@daily", input={"days": "three"}))
        def clean(window: Window):
            pass

    with pytest.raises(DefinitionError, match="class Each: schedule 'each': its input must be a list, for `one` maps"):

        class Each(Flow, schedule="@daily"):
            @map_step
            def one(item):
                pass


def test_a_job_may_be_scheduled_with_an_input_of_its_type():
    @job(schedule=Schedule("@daily", input=Window(3)))
    def clean(window: Window):
        pass

    assert clean.schedules[0].input == {"days": 3}
