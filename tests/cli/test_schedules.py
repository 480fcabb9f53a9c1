"""``pgflow-mp schedules``, ``pause`` and ``resume``: what starts by itself, and what does not for now."""

from __future__ import annotations

import json

import psycopg
import pytest

from pgflow_mp.client import PgFlow
from pytest_pgflow import factories
from tests.cli.test_start import Doubling

timed_dsn = factories.dsn(scope="module")


@pytest.fixture(scope="module")
def app(timed_dsn):
    with PgFlow(timed_dsn) as app:
        app.compile(Doubling)
        yield app


@pytest.fixture
def ask(call, timed_dsn, app):
    def ask(*arguments: str, code: int = 0):
        done = call(*arguments, "--dsn", timed_dsn)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    yield ask
    for schedule in app.list_schedules():
        app.delete_schedule(schedule.name)


def test_a_schedule_is_made_listed_and_changed(ask):
    made = ask("schedules", "add", "doubling", '{"n": 3}', "--cron", "30 3 * * *", "--time-zone", "Europe/Berlin")
    assert made.stdout.startswith("schedule doubling of doubling is set: 30 3 * * * Europe/Berlin, next at 20")
    (listed,) = json.loads(ask("schedules", "--json").stdout)
    assert (listed["name"], listed["cron"], listed["input"], listed["every"]) == (
        "doubling",
        "30 3 * * *",
        {"n": 3},
        None,
    )
    changed = json.loads(ask("schedules", "add", "doubling", "--every", "15m", "--json").stdout)
    assert (changed["every"], changed["cron"], changed["input"]) == (900, None, {})
    (line,) = ask("schedules", "list", "doubling").stdout.splitlines()[1:]
    assert line.startswith("doubling  doubling  every 15 min 00 s  20")


def test_options_of_the_command_hold_for_its_action(call, timed_dsn, app):
    done = call("schedules", "--dsn", timed_dsn, "--json", "list")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])


def test_a_schedule_is_paused_resumed_run_and_deleted(ask, app):
    ask("schedules", "add", "doubling", '{"n": 7}', "--every", "1d", "--name", "daily")
    assert json.loads(ask("schedules", "pause", "daily", "--json").stdout)["paused_at"]
    assert "paused since 20" in ask("schedules").stdout
    run_id = ask("schedules", "run-now", "daily").stdout.strip()
    assert app.get_run(run_id).input == {"n": 7}
    assert ask("schedules", "resume", "daily").stdout.startswith("schedule daily of doubling goes on: every 24 h")
    assert ask("schedules", "delete", "daily").stdout == "schedule daily is deleted\n"
    assert ask("schedules").stdout.startswith("no schedules: ")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["pause", "dayly"], 1, "there is no schedule 'dayly' in this database (did you mean `daily`?)"),
        (["add", "dubling", "--every", "1h"], 1, "did you mean `doubling`?"),
        (["add", "doubling", "--cron", "every day"], 2, "every day"),
        (["add", "doubling", "--cron", "@daily", "--time-zone", "Europe/Berlim"], 2, "Europe/Berlim"),
        (["add", "doubling", "--every", "often"], 2, "no span of time"),
        (["add", "doubling"], 2, "--cron"),
        (["list", "dubling"], 1, "did you mean `doubling`?"),
    ],
)
def test_what_cannot_be_is_told(ask, arguments, code, said):
    ask("schedules", "add", "doubling", "--every", "1d", "--name", "daily")
    assert said in ask("schedules", *arguments, code=code).stderr


def test_a_schedule_that_started_nothing_is_for_doctor_to_tell(ask, timed_dsn):
    ask("schedules", "add", "doubling", "--every", "1d", "--name", "daily")
    with psycopg.connect(timed_dsn, autocommit=True) as conn:
        conn.execute("update pgflow_mp.schedules set last_error = 'no such input'")
    troubles = [
        finding for finding in json.loads(ask("doctor", "--json", code=1).stdout) if finding["level"] == "trouble"
    ]
    assert [finding["about"] for finding in troubles] == ["schedules"]
    assert "daily of doubling started nothing at its last tick: no such input" in troubles[0]["text"]
    assert "no such input" in ask("schedules").stdout


def test_flows_are_paused_and_resumed_all_or_none(ask, app):
    assert ask("pause", "doubling").stdout.startswith("doubling: paused since 20")
    assert list(app.paused_flows()) == ["doubling"]
    assert json.loads(ask("flows", "--json").stdout)[0]["paused_at"]
    assert ask("resume", "doubling").stdout == "doubling: goes on\n"
    assert "did you mean `doubling`?" in ask("pause", "doubling", "dubling", code=1).stderr
    assert app.paused_flows() == {}
