"""Databases of earlier releases of ours come up to date with all that is in them. Rules: issue 8 point 1, SU-10.

What an earlier version of the tables held is taken from a database of today, in which the functions of today have made
it: every row of every table that the earlier version has, with the columns that it has.
"""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from pgflow_mp import Flow, PgFlow, map_step, step
from pgflow_mp.core import scripts
from pgflow_mp.core.install import install
from pgflow_mp.errors import InstallError
from tests.engine.harness import eventually

from .ask import column, rows, value
from .machine import Failure, Machine

VERSIONS = [version for version, _ in scripts.migrations(scripts.root())]
NEWEST = VERSIONS[-1]


class Harvest(Flow, slug="Harvest", max_attempts=3, base_delay=600):
    """A root, a map over its output, and a sum."""

    @step
    def numbers(flow_input):
        """Done by the test."""

    @map_step(over=numbers)
    def twice(item):
        """Done by the test."""

    @step
    def total(twice):
        """Done by the test."""


def handle(task):
    match task.step:
        case "numbers":
            return [1, 2, 3, 4]
        case "twice":
            return task.input * 2
        case "total":
            return sum(task.input["twice"])
    return "routed"


def make_situation(dsn):
    """Everything that a database may hold; returns the runs by what is the matter with them."""
    with PgFlow(dsn) as app, psycopg.connect(dsn, autocommit=True) as conn:
        machine = Machine(conn)
        app.compile(Harvest)
        shape = {"steps": [{"slug": "only", "stepType": "single", "dependencies": []}]}
        conn.execute("select pgflow.ensure_flow_compiled('Routed', %s, 'step')", [Jsonb(shape)])

        runs = {}
        for state in ("completed", "failed", "cancelled", "delayed", "busy"):
            runs[state] = app.start_flow(Harvest, {"state": state}, idempotency_key=state)
            _bring(machine, runs[state], state)
        app.cancel_run(runs["cancelled"])
        runs["again"] = app.retry_run(runs["failed"])
        runs["fresh"] = app.start_flow(Harvest, {}, idempotency_key="fresh")
        runs["routed"] = app.start_flow("Routed", {})

        app.schedule(Harvest, cron="0 3 * * *", name="nightly", time_zone="Europe/Paris")
        app.schedule(Harvest, every=3600, name="hourly")
        app.pause_schedule("hourly")
        conn.execute(
            "insert into pgflow_mp.ticks (schedule_name, tick_at, run_id) values ('nightly', now(), %s)",
            [runs["fresh"]],
        )
        app.upsert_flow("made", [{"slug": "one", "handler": "f"}])
        app.pause_flow("made")
        app.set_retention(timedelta(days=7), flow="made")
        conn.execute("select pgflow_mp.carry(array[%s::uuid], array[%s])", [runs["busy"], Jsonb({"trace": "1"})])
        conn.execute(
            "insert into pgflow_mp.task_progress values (%s, 'twice', 1, 1, 0.5, 'half', now())", [runs["busy"]]
        )
        return runs


def _bring(machine, run, state):
    """Take a run to where it shall be; of the busy one, two dead workers hold a task each, one is ours, one foreign."""
    tasks = machine.claim("Harvest", only=[run])
    if state == "delayed":
        machine.settle([(tasks[0], Failure("not yet"))])
    elif state == "failed":
        machine.settle([(tasks[0], Failure("never", retryable=False))])
    elif state == "completed":
        machine.settle([(tasks[0], handle(tasks[0]))])
        while tasks := machine.claim("Harvest", only=[run]):
            machine.settle([(task, handle(task)) for task in tasks])
    elif state == "busy":
        machine.settle([(tasks[0], handle(tasks[0]))])
        (done,) = machine.claim("Harvest", 1, only=[run])
        machine.settle([(done, handle(done))])
        machine.claim("Harvest", 1, only=[run], worker=machine.register(ours=True, heartbeat_age=3600))
        machine.claim("Harvest", 1, only=[run], worker=machine.register(heartbeat_age=3600))
        machine.backdate(run, 3600)


TABLES = """
select c.oid::regclass::text, array_agg(a.attname order by a.attnum)
from pg_class as c join pg_attribute as a on a.attrelid = c.oid
where c.relkind = 'r' and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
  and (c.relnamespace in ('pgflow'::regnamespace, 'pgflow_mp'::regnamespace)
       or c.oid::regclass::text ~ '^pgmq\\.(q|a)_')
  and c.oid <> 'pgflow_mp.installed'::regclass
group by c.oid
"""


def tables_of(conn):
    return dict(rows(conn, TABLES))


def content(conn, tables):
    """Every row of these tables, with these columns, as text."""
    return {
        table: sorted(
            column(
                conn,
                sql.SQL("select row_to_json(t)::text from (select {} from {}) as t").format(
                    sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(table)
                ),
            )
        )
        for table, columns in tables.items()
    }


def older_folder(tmp_path, version):
    """The package's SQL without the migrations above a version."""
    folder = tmp_path / f"version_{version}"
    shutil.copytree(scripts.root(), folder)
    for file in (folder / "migrations").iterdir():
        if int(file.name.partition("_")[0]) > version:
            file.unlink()
    return folder


def install_older(conn, source, tmp_path, version):
    """Install an earlier version and put in what `source` has, as far as that version has room for it."""
    install(conn, folder=older_folder(tmp_path, version))
    for queue in column(source, "select queue_name from pgmq.list_queues()"):
        conn.execute("select pgmq.create(%s)", [queue])
    there = tables_of(source)
    with conn.transaction():
        conn.execute("set local session_replication_role = replica")  # rows come in any order
        for table, columns in tables_of(conn).items():
            names = sql.SQL(", ").join(sql.Identifier(each) for each in columns if each in there[table])
            place = sql.SQL(table)
            conn.execute(sql.SQL("delete from {}").format(place))
            with (
                source.cursor().copy(sql.SQL("copy (select {} from {}) to stdout").format(names, place)) as out,
                conn.cursor().copy(sql.SQL("copy {} ({}) from stdin").format(place, names)) as into,
            ):
                for block in out:
                    into.write(block)
    for queue in column(source, "select queue_name from pgmq.list_queues()"):
        conn.execute(f"select setval(pg_get_serial_sequence('pgmq.q_{queue}', 'msg_id'), 1000)")


@pytest.fixture(scope="module")
def situation(_pgflow_databases):
    """A database of today in the situation, and its runs."""
    dsn = _pgflow_databases.create()
    runs = make_situation(dsn)
    with psycopg.connect(dsn, autocommit=True) as source:
        yield source, runs
    _pgflow_databases.drop(dsn)


@pytest.fixture
def older(situation, empty_dsn, tmp_path):
    """Return a function that makes an older database of the situation."""
    source, _ = situation
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        yield lambda version: (install_older(conn, source, tmp_path, version), conn)[1]


EVERY = [version if version == 1 else pytest.param(version, marks=pytest.mark.slow) for version in VERSIONS[:-1]]


@pytest.mark.parametrize("version", EVERY)
def test_a_database_of_an_earlier_release_keeps_everything_and_its_runs_end(situation, older, version):
    """issue 8 point 1: with running flows, queued, delayed, failed and busy tasks, schedules, keys, pauses."""
    _, runs = situation
    conn = older(version)
    tables = tables_of(conn)
    before = content(conn, tables)
    assert sum(map(len, before.values())) > 60

    assert install(conn)[1] == f"tables: migrated from version {version} to version {NEWEST}"
    assert content(conn, tables) == before
    assert set(tables_of(conn)) >= set(tables)

    machine = Machine(conn)
    assert machine.recover() == 2  # what the dead workers held
    machine.skip_delays(*runs.values())
    machine.drain("Harvest", handle)
    machine.drain("Routed", handle)
    ended = {state: value(conn, "select status from pgflow.runs where run_id = %s", run) for state, run in runs.items()}
    assert ended == dict.fromkeys(runs, "completed") | {"failed": "failed", "cancelled": "failed"}
    outputs = column(conn, "select output ->> 'total' from pgflow.runs where status = 'completed' and output ? 'total'")
    assert outputs == ["20"] * 5
    for queue in ("harvest", "routed__only"):
        assert value(conn, f"select count(*) from pgmq.q_{queue}") == 0


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS[:-1])
def test_what_later_versions_added_works_after_the_migration(situation, older, version):
    """Keys of before count on; what had no place before begins empty."""
    _, runs = situation
    conn = older(version)
    install(conn)
    with PgFlow(conn.info.dsn) as app:
        known = app.start_flow(Harvest, {}, idempotency_key="fresh")
        assert (known == runs["fresh"]) is (version >= 5)
        assert app.get_run(runs["cancelled"]).cancelled is (version >= 2)
        assert {each.name for each in app.list_schedules()} == ({"nightly", "hourly"} if version >= 3 else set())
        assert set(app.paused_flows()) == ({"made"} if version >= 3 else set())
        assert app.health_check() is not None


@contextmanager
def long_transaction(dsn):
    """Somebody who has written into a table and does not commit."""
    with psycopg.connect(dsn) as conn:
        conn.execute("update pgflow.runs set input = input")
        yield
        conn.rollback()


STATE = """
select version, content_hash, functions, (select count(*) from pg_class), (select count(*) from pg_proc),
  (select md5(string_agg(prosrc, '' order by oid)) from pg_proc where pronamespace = 'pgflow_mp'::regnamespace)
from pgflow_mp.installed
"""


@contextmanager
def nothing_changes(conn):
    """Hold tables, functions and rows to what they were before the block."""
    before = rows(conn, STATE), content(conn, tables_of(conn))
    yield
    assert (rows(conn, STATE), content(conn, tables_of(conn))) == before


@pytest.mark.slow
def test_a_table_that_a_long_transaction_holds_stops_the_migration_in_time_and_nothing_has_changed(older, monkeypatch):
    """SU-10: a short lock timeout, one transaction."""
    conn = older(1)
    monkeypatch.setattr("pgflow_mp.core.install._WAIT_FOR_TABLE", "200ms")
    with nothing_changes(conn), long_transaction(conn.info.dsn):
        begun = time.monotonic()
        with pytest.raises(InstallError, match="a transaction that holds pgflow's tables"):
            install(conn)
        assert time.monotonic() - begun < 5
    assert install(conn)[1] == f"tables: migrated from version 1 to version {NEWEST}"


@pytest.mark.slow
def test_a_migration_that_fails_takes_those_before_it_back(older, tmp_path):
    """One transaction, whatever the number of versions."""
    conn = older(1)
    folder = older_folder(tmp_path, NEWEST)
    (folder / "migrations" / f"{NEWEST + 1:04}_broken.sql").write_text("alter table pgflow.runs add column status text")
    with nothing_changes(conn), pytest.raises(psycopg.errors.DuplicateColumn):
        install(conn, folder=folder)


@pytest.mark.slow
def test_who_waits_behind_the_migration_goes_on_when_it_gives_up(older, monkeypatch):
    """Its lock timeout is what others wait for at most: a migration queues in front of them."""
    conn = older(1)
    monkeypatch.setattr("pgflow_mp.core.install._WAIT_FOR_TABLE", "1s")
    results, refused = [], []

    def migrate():
        with pytest.raises(InstallError) as caught:
            install(conn)
        refused.append(caught.value)

    def write():
        with psycopg.connect(conn.info.dsn, autocommit=True) as other:
            results.append(other.execute("select run_id from pgflow.start_flow('Harvest', '{}')").fetchone())

    with long_transaction(conn.info.dsn):
        migrating, writing = threading.Thread(target=migrate), threading.Thread(target=write)
        migrating.start()
        with psycopg.connect(conn.info.dsn, autocommit=True) as looking:
            queued = "select count(*) from pg_locks where relation = 'pgflow.runs'::regclass and not granted"
            eventually(lambda: value(looking, queued) == 1)
        writing.start()
        writing.join(10)
        migrating.join(10)
    assert (len(results), len(refused)) == (1, 1)
