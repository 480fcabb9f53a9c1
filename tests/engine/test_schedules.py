"""Schedules in the database: exactly one start for a tick, whoever looks, whatever dies and whatever the clock does."""

from __future__ import annotations

import signal
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import psycopg
import pytest

from pgflow_mp import (
    Flow,
    FlowNotFound,
    InvalidInput,
    PgFlow,
    PgflowError,
    Schedule,
    ScheduleNotFound,
    job,
    map_step,
)
from pgflow_mp.core.queries.schedules import due_schedules
from pgflow_mp.core.statement import execute
from pgflow_mp.engine import schedules
from pgflow_mp.hooks import hookimpl
from tests.engine.harness import eventually, serving, working

MONDAY = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@job(executor="inline")
def report(day=None):
    return day


@job(schedule=Schedule("0 9 * * *", time_zone="Europe/Berlin", input="morning"))
def wake():
    pass


class Each(Flow):
    """Takes an array."""

    @map_step
    def one(item):
        return item


@pytest.fixture
def app(pgflow_dsn):
    with PgFlow(pgflow_dsn) as app:
        yield app


@pytest.fixture
def at(pgflow_conn):
    """Set the clock of the database to a moment, where it stands still; then start what is due; return the ticks."""

    def at(moment, conn=pgflow_conn, *, look=True):
        set_clock(pgflow_conn, moment)
        return look_once(conn) if look else []

    at(MONDAY, look=False)
    return at


def set_clock(conn, moment):
    conn.execute(
        "create or replace function pgflow_mp._clock() returns timestamptz language sql volatile set search_path = '' "
        f"as $$ select timestamptz '{moment.isoformat()}' $$"
    )


def look_once(conn):
    """Do what the loop of a worker does, until nothing is due."""
    found = []
    while (statement := schedules.starting(execute(conn, due_schedules()))) is not None:
        started = execute(conn, statement)
        assert all(tick.error is None for tick in started)
        found += [tick.tick_at for tick in started]
    return found


def backends(conn, other):
    return conn.execute("select from pg_stat_activity where pid = %s", (other.info.backend_pid,)).fetchall()


def runs(conn):
    return [row[0] for row in conn.execute("select input from pgflow.runs order by run_id").fetchall()]


# Ticks


def test_a_run_is_started_at_each_tick_with_the_schedules_input(app, pgflow_conn, at):
    app.compile(report)
    app.schedule(report, "today", every=HOUR)
    assert at(MONDAY + 59 * MINUTE) == []
    assert at(MONDAY + HOUR) == [MONDAY + HOUR]
    assert at(MONDAY + HOUR) == []
    assert at(MONDAY + 2 * HOUR + MINUTE) == [MONDAY + 2 * HOUR]
    assert runs(pgflow_conn) == ["today"] * 2


def test_a_cron_expression_ticks_in_its_time_zone(app, at):
    app.compile(wake)
    assert app.get_schedule("wake").next_at == MONDAY - HOUR + DAY  # 9 o'clock in Berlin is 7 in UTC
    assert at(MONDAY + 22 * HOUR) == []
    assert at(MONDAY + 23 * HOUR) == [MONDAY + 23 * HOUR]


def test_a_schedule_tells_what_it_did(app, at):
    app.compile(report)
    made = app.schedule(report, cron="30 * * * *", name="half past")
    assert (made.next_at, made.last_tick_at, made.last_run_id, made.declared) == (
        MONDAY + 30 * MINUTE,
        None,
        None,
        False,
    )
    at(MONDAY + 31 * MINUTE)
    (state,) = app.list_schedules(report)
    assert (state.next_at, state.last_tick_at) == (MONDAY + 90 * MINUTE, MONDAY + 30 * MINUTE)
    assert app.get_run(state.last_run_id).flow_slug == "report"


@pytest.mark.parametrize(
    ("catch_up", "ticks"),
    [("skip", []), ("once", [4]), ("all", [1, 2, 3, 4])],
)
def test_ticks_that_nobody_was_there_for_are_caught_up_by_policy(app, at, catch_up, ticks):
    app.compile(report)
    app.schedule(report, every=HOUR, catch_up=catch_up)
    assert at(MONDAY + 4 * HOUR + 30 * MINUTE) == [MONDAY + each * HOUR for each in ticks]
    assert at(MONDAY + 5 * HOUR) == [MONDAY + 5 * HOUR]


def test_a_tick_that_is_a_little_late_was_not_missed(app, at):
    app.compile(report)
    app.schedule(report, every=HOUR, catch_up="skip")
    assert at(MONDAY + HOUR + timedelta(seconds=59)) == [MONDAY + HOUR]


def test_thousands_of_missed_ticks_are_all_started_in_order(app, at, pgflow_conn):
    app.compile(report)
    app.schedule(report, every=1, catch_up="all")
    ticks = at(MONDAY + timedelta(seconds=2500))
    assert ticks == [MONDAY + timedelta(seconds=n) for n in range(1, 2501)]
    assert len(runs(pgflow_conn)) == 2500


def test_ticks_start_with_the_transaction_that_makes_the_schedule(app, at, pgflow_dsn):
    app.compile(report)
    with psycopg.connect(pgflow_dsn) as conn:
        app.schedule(report, every=HOUR, conn=conn)
        conn.rollback()
    assert app.list_schedules() == []


# Once


def test_many_workers_that_look_at_once_start_each_tick_once(app, at, pgflow_dsn, pgflow_conn):
    app.compile(report)
    for number in range(5):
        app.schedule(report, number, every=HOUR, catch_up="all", name=f"schedule {number}")
    at(MONDAY + 10 * HOUR, look=False)
    start, found = threading.Barrier(4), []

    def worker():
        with psycopg.connect(pgflow_dsn, autocommit=True) as conn:
            start.wait(30)
            found.extend(look_once(conn))

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 50
    assert sorted(runs(pgflow_conn)) == [number for number in range(5) for _ in range(10)]


def test_whoever_saw_a_schedule_before_it_went_on_changes_nothing(app, at, pgflow_conn):
    app.compile(report)
    app.schedule(report, every=HOUR)
    at(MONDAY + HOUR, look=False)
    seen = schedules.starting(execute(pgflow_conn, due_schedules()))
    assert look_once(pgflow_conn) == [MONDAY + HOUR]
    assert execute(pgflow_conn, seen) == []
    assert len(runs(pgflow_conn)) == 1


def test_a_worker_that_stalls_in_the_middle_holds_up_nobody_and_its_ticks_are_not_lost(
    app, at, pgflow_dsn, pgflow_conn
):
    app.compile(report)
    app.schedule(report, 1, every=HOUR, name="held")
    app.schedule(report, 2, every=HOUR, name="free")
    at(MONDAY + HOUR, look=False)
    with psycopg.connect(pgflow_dsn) as stalled:
        stalled.execute("select from pgflow_mp.schedules where schedule_name = 'held' for update")
        pgflow_conn.execute("set lock_timeout = '5s'")
        execute(pgflow_conn, schedules.starting(execute(pgflow_conn, due_schedules())))
        assert runs(pgflow_conn) == [2]
    look_once(pgflow_conn)
    assert runs(pgflow_conn) == [2, 1]


def test_ticks_of_a_worker_that_dies_before_it_commits_are_started_by_another(app, at, pgflow_dsn, pgflow_conn):
    app.compile(report)
    app.schedule(report, every=HOUR, catch_up="all")
    at(MONDAY + 3 * HOUR, look=False)
    with psycopg.connect(pgflow_dsn) as dies:
        started = execute(dies, schedules.starting(execute(dies, due_schedules())))
        assert len(started) == 3
        pgflow_conn.execute("select pg_terminate_backend(%s)", (dies.info.backend_pid,))
        eventually(lambda: not backends(pgflow_conn, dies))
        with pytest.raises(psycopg.OperationalError):
            dies.commit()
    assert look_once(pgflow_conn) == [tick.tick_at for tick in started]
    assert len(runs(pgflow_conn)) == 3


# The clock


def test_a_clock_that_is_put_back_starts_no_tick_twice_and_goes_on(app, at):
    app.compile(report)
    app.schedule(report, every=HOUR)
    assert at(MONDAY + 3 * HOUR) == [MONDAY + 3 * HOUR]
    assert at(MONDAY + 30 * MINUTE) == []
    assert app.get_schedule("report").next_at == MONDAY + HOUR
    assert at(MONDAY + 2 * HOUR) == [MONDAY + 2 * HOUR]  # the newest that was passed over the first time
    assert at(MONDAY + 3 * HOUR) == []
    assert at(MONDAY + 4 * HOUR) == [MONDAY + 4 * HOUR]


def test_a_clock_that_was_years_ahead_does_not_silence_a_schedule(app, at):
    app.compile(report)
    at(MONDAY + 3000 * DAY)
    app.schedule(report, every=HOUR)
    at(MONDAY + 3001 * DAY)
    assert at(MONDAY) == []
    assert len(at(MONDAY + HOUR)) == 1


def test_a_clock_that_leaps_ahead_starts_one_run_and_not_thousands(app, at):
    app.compile(report)
    app.schedule(report, every=1)
    assert at(MONDAY + 3000 * DAY) == [MONDAY + 3000 * DAY]


# Pauses


def test_a_paused_schedule_starts_nothing_and_catches_nothing_up(app, at, pgflow_conn):
    app.compile(report)
    app.schedule(report, every=HOUR, catch_up="all")
    app.pause_schedule("report")
    assert app.get_schedule("report").paused
    assert app.get_schedule("report").next_at is None
    assert at(MONDAY + 3 * HOUR) == []
    app.resume_schedule("report")
    app.resume_schedule("report")
    assert at(MONDAY + 3 * HOUR) == []
    assert at(MONDAY + 4 * HOUR) == [MONDAY + 4 * HOUR]


def test_schedules_of_a_paused_flow_start_nothing(app, at):
    app.compile(report)
    app.schedule(report, every=HOUR)
    app.pause_flow(report)
    assert app.get_schedule("report").flow_paused
    assert at(MONDAY + 3 * HOUR) == []
    app.resume_flow(report)
    assert at(MONDAY + 3 * HOUR) == []
    assert at(MONDAY + 4 * HOUR) == [MONDAY + 4 * HOUR]


# Made, changed, run, deleted


def test_a_schedule_is_changed_by_its_name_and_begins_anew(app, at):
    app.compile(report)
    app.schedule(report, every=HOUR, name="reports")
    at(MONDAY + 90 * MINUTE)
    changed = app.schedule(report, "new", every=2 * HOUR, catch_up="all", name="reports")
    assert (changed.every, changed.input, changed.catch_up) == (2 * HOUR, "new", "all")
    assert at(MONDAY + 3 * HOUR) == []
    assert at(MONDAY + 3 * HOUR + 30 * MINUTE) == [MONDAY + 3 * HOUR + 30 * MINUTE]


def test_the_same_schedule_again_changes_nothing(app, at):
    app.compile(report)
    app.schedule(report, every=HOUR)
    at(MONDAY + 30 * MINUTE, look=False)
    app.schedule(report, every=HOUR)
    assert at(MONDAY + HOUR) == [MONDAY + HOUR]


def test_a_schedule_is_run_now_and_ticks_as_it_would_have(app, at, pgflow_conn):
    app.compile(report)
    app.schedule(report, "now", every=HOUR)
    app.pause_schedule("report")
    run_id = app.run_schedule("report")
    assert app.get_run(run_id).input == "now"
    assert app.get_schedule("report").last_run_id == run_id
    app.resume_schedule("report")
    assert at(MONDAY + HOUR) == [MONDAY + HOUR]


def test_a_deleted_schedule_starts_nothing_and_its_runs_stay(app, at, pgflow_conn):
    app.compile(report)
    app.schedule(report, every=HOUR)
    at(MONDAY + HOUR)
    app.delete_schedule("report")
    assert at(MONDAY + 2 * HOUR) == []
    assert len(runs(pgflow_conn)) == 1


@pytest.mark.parametrize(
    "operation", ["get_schedule", "pause_schedule", "resume_schedule", "run_schedule", "delete_schedule"]
)
def test_an_unknown_schedule_is_told(app, operation):
    with pytest.raises(ScheduleNotFound, match="there is no schedule 'nobody'"):
        getattr(app, operation)("nobody")


def test_a_schedule_of_an_unknown_flow_is_told(app):
    with pytest.raises(FlowNotFound, match="flow `nowhere` is not in this database"):
        app.schedule("nowhere", every=60)


def test_two_flows_cannot_have_a_schedule_of_the_same_name(app):
    app.compile(report)
    app.compile(wake)
    app.schedule(report, every=60, name="mine")
    with pytest.raises(PgflowError, match='there is a schedule "mine" of flow "report"'):
        app.schedule(wake, every=60, name="mine")


def test_a_flow_that_refuses_the_input_starts_nothing_and_stops_no_other(app, at, pgflow_conn, flow_runner):
    app.compile(report)
    app.compile(Each)
    app.schedule(Each, {"no": "array"}, every=HOUR, name="a wrong one")
    app.schedule(report, every=HOUR)
    at(MONDAY + HOUR, look=False)
    started = execute(pgflow_conn, schedules.starting(execute(pgflow_conn, due_schedules())))
    assert {tick.schedule_name: tick.error is None for tick in started} == {"a wrong one": False, "report": True}
    state = app.get_schedule("a wrong one")
    assert "root map steps but input is not an array" in state.last_error
    assert state.next_at == MONDAY + 2 * HOUR
    assert len(runs(pgflow_conn)) == 1
    with pytest.raises(InvalidInput):
        app.run_schedule("a wrong one")


# Declared in code


def variant(**options):
    return job(slug="tidy", **options)(lambda _=None: None)


def test_compiling_brings_declared_schedules_into_the_database_and_takes_them_out(app, at):
    assert app.compile(variant(schedule="@daily")).schedules_changed == ("schedule tidy is set",)
    state = app.get_schedule("tidy")
    assert (state.cron, state.declared, state.flow_slug) == ("@daily", True, "tidy")
    assert app.compile(variant(schedule="@daily")).schedules_changed == ()
    assert app.compile(variant(schedule=MINUTE)).schedules_changed == ("schedule tidy is set",)
    assert app.get_schedule("tidy").every == MINUTE
    assert app.compile(variant()).schedules_changed == ("schedule tidy is removed",)
    assert app.list_schedules() == []


def test_compiling_again_keeps_a_pause_and_when_it_is_due(app, at):
    app.compile(variant(schedule=HOUR))
    at(MONDAY + 30 * MINUTE)
    app.compile(variant(schedule=HOUR))
    assert at(MONDAY + HOUR) == [MONDAY + HOUR]
    app.pause_schedule("tidy")
    app.compile(variant(schedule=MINUTE))
    assert app.get_schedule("tidy").paused


def test_compiling_leaves_schedules_alone_that_were_made_at_run_time(app):
    app.compile(variant(schedule=HOUR))
    app.schedule("tidy", every=60, name="more")
    app.compile(variant())
    assert [each.name for each in app.list_schedules()] == ["more"]


def test_a_declared_schedule_is_changed_and_deleted_in_the_code_only(app):
    app.compile(variant(schedule=HOUR))
    with pytest.raises(PgflowError, match='declared in the code of flow "tidy"; change it there'):
        app.schedule("tidy", every=60)
    with pytest.raises(PgflowError, match='declared in the code of flow "tidy"; remove it there, or pause it'):
        app.delete_schedule("tidy")


def test_recompiling_a_changed_flow_keeps_its_pause_and_its_schedules(app, at):
    app.compile(variant(schedule=HOUR))
    app.schedule("tidy", every=60, name="more")
    app.pause_flow("tidy")
    changed = job(slug="tidy", schedule=HOUR, start_delay=1)(lambda _=None: None)
    changed = changed.from_data("tidy", [{"slug": "one"}, {"slug": "two"}], schedule=HOUR)
    assert app.compile(changed, recompile=True).status == "recompiled"
    assert [each.name for each in app.list_schedules()] == ["more", "tidy"]
    assert list(app.paused_flows()) == ["tidy"]


def test_deleting_a_flow_deletes_its_schedules(app):
    app.compile(variant(schedule=HOUR))
    app.delete_flow("tidy")
    assert app.list_schedules() == []
    assert app.paused_flows() == {}


# Workers


@job(schedule=Schedule(every=1, catch_up="all"), executor="inline")
def pulse():
    pass


def test_a_worker_starts_what_is_due_without_being_asked(app, pgflow_dsn, pgflow_conn):
    app.compile(report)
    app.schedule(report, "due", every=1)
    pgflow_conn.execute("update pgflow_mp.schedules set considered_at = considered_at - interval '10 seconds'")
    heard = []

    class Hears:
        @hookimpl
        def pgflow_run_started(self, run):
            heard.append(run.flow_slug)

    with working(pgflow_dsn, report, plugins=[Hears()]):
        eventually(lambda: "completed" in dict(pgflow_conn.execute("select status, 1 from pgflow.runs").fetchall()))
    assert set(heard) == {"report"}


@pytest.mark.slow
def test_a_worker_that_is_killed_while_it_leads_loses_no_tick_and_doubles_none(pgflow_dsn, pgflow_conn):
    with PgFlow(pgflow_dsn) as app:
        app.compile(pulse)

    def ticks():
        return pgflow_conn.execute("select tick_at, run_id, worker_id from pgflow_mp.ticks order by tick_at").fetchall()

    def process_of(worker_id):
        return pgflow_conn.execute("select pid from pgflow_mp.workers where worker_id = %s", (worker_id,)).fetchone()[0]

    with (
        serving(pgflow_dsn, "tests.engine.test_schedules") as one,
        serving(pgflow_dsn, "tests.engine.test_schedules") as two,
    ):
        eventually(lambda: len(ticks()) >= 3, seconds=60)
        leader = process_of(ticks()[-1][2])
        victim = next(each for each in (one, two) if each.pid == leader)
        victim.send_signal(signal.SIGKILL)
        victim.wait(30)
        seen = len(ticks())
        eventually(lambda: len(ticks()) >= seen + 3, seconds=60)
        found = ticks()
    assert {later[0] - earlier[0] for earlier, later in pairwise(found)} == {timedelta(seconds=1)}
    started = pgflow_conn.execute("select run_id from pgflow.runs where flow_slug = 'pulse'").fetchall()
    assert {run for (run,) in started} == {run for _, run, _ in found}
