"""What is in the way of an adoption changes nothing, and what is somebody's own is left alone.

Issue 8 point 6; generations SU-9, SU-10, 9.2.
"""

from __future__ import annotations

import threading
import time
import uuid

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgflow_mp.core.adopt import adopt
from pgflow_mp.core.install import install
from pgflow_mp.errors import InstallError
from tests.core import foreign
from tests.core.ask import column, refusal, rows, value

SCHEMAS = ("pgflow", "pgflow_mp", "pgmq", "public")

TWICE = """
alter table pgflow.steps drop constraint steps_flow_slug_step_index_key;
insert into pgflow.flows (flow_slug) values ('one');
insert into pgflow.steps (flow_slug, step_slug) values ('one', 'a'), ('one', 'b');
insert into pgflow.runs (run_id, flow_slug, input) values ('00000000-0000-0000-0000-000000000001', 'one', '{}');
insert into pgflow.step_states (flow_slug, run_id, step_slug)
select 'one', '00000000-0000-0000-0000-000000000001', step_slug from pgflow.steps;
insert into pgflow.step_tasks (flow_slug, run_id, step_slug, message_id)
select 'one', '00000000-0000-0000-0000-000000000001', step_slug, 7 from pgflow.steps;
update pgflow.steps set step_index = 1 where step_slug = 'b';
alter table pgflow.steps add constraint steps_flow_slug_step_index_key unique (flow_slug, step_index);
"""

# What is done to a database of 0.14.1, and what an adoption says then.
REFUSED = {
    "flows that differ in case": (
        "insert into pgflow.flows (flow_slug) values ('Greet'), ('greet')",
        "flows Greet, greet differ only in case",
    ),
    "steps that differ in case": (
        """insert into pgflow.flows (flow_slug) values ('one');
        insert into pgflow.steps (flow_slug, step_slug, step_index) values ('one', 'A', 0), ('one', 'a', 1)""",
        "steps A, a of flow one differ only in case",
    ),
    "a slug that is no queue name": (
        f"insert into pgflow.flows (flow_slug) values ('{'x' * 48}')",
        "has 48 characters, a queue can have 47",
    ),
    "two tasks of a message": (TWICE, "2 tasks have message 7 of queue one"),
    "an overload of somebody's own": (
        "create function pgflow.start_flow(flow_slug text) returns void language sql as ''",
        r"function pgflow\.start_flow\(text\) has the name of one of ours",
    ),
    "a column that must be given": (
        "alter table pgflow.runs add column tenant text not null",
        r"pgflow\.runs\.tenant is a column of your own that must be given",
    ),
    "a column of another type": (
        "alter table pgflow.runs alter column remaining_steps type bigint",
        r"pgflow\.runs\.remaining_steps is bigint, ours is integer",
    ),
    "a view on a function that goes": (
        "create view public.claims as select msg_id from pgflow.start_tasks('one', '{}', null)",
        r"view .*claims depends on function pgflow\.start_tasks\(text, bigint\[\], uuid\)",
    ),
    "a column of the row type": (
        "create table public.claims (claim pgflow.step_task_record)",
        r"column public\.claims\.claim is of type pgflow\.step_task_record",
    ),
    "a table of another owner": (
        "alter table pgflow.deps owner to pg_monitor",
        r"pgflow\.deps is owned by pg_monitor, schema pgflow by .*: let one role own all of it|alter \.\.\. owner to",
    ),
    "rows that a constraint refuses": (
        """alter table pgflow.runs drop constraint status_is_valid; insert into pgflow.flows (flow_slug) values ('one');
        insert into pgflow.runs (flow_slug, input, status) values ('one', '{}', 'odd')""",
        r"pgflow\.runs: 1 row breaks constraint status_is_valid",
    ),
    "rows that refer to nothing": (
        """alter table pgflow.runs drop constraint runs_flow_slug_fkey;
        insert into pgflow.runs (flow_slug, input) values ('gone', '{}')""",
        r"pgflow\.runs: 1 row breaks constraint runs_flow_slug_fkey",
    ),
    "a key that is not there": (
        "alter table pgflow.deps drop constraint deps_pkey",
        r"pgflow\.deps: key deps_pkey is missing",
    ),
    "a status that nobody knows": (
        """alter table pgflow.step_tasks drop constraint valid_status,
        add constraint valid_status check (status in ('queued', 'started', 'completed', 'failed', 'waiting'))""",
        "its tasks know other statuses",
    ),
    "a table where ours has a view": (
        "create table pgflow.extensions_version (version int)",
        r"pgflow\.extensions_version is a table, where ours has a view",
    ),
    "a schema of our name": (
        "create schema pgflow_mp; create table pgflow_mp.mine (note text)",
        "schema pgflow_mp was not made by pgflow-mp",
    ),
    "a core that is too old": (
        "alter table pgflow.step_states drop column initial_tasks cascade",
        r"has no column step_states\.initial_tasks.*brought to 0\.8 or later",
    ),
}
QUICK = ("flows that differ in case",)

OWN = """
create table pgflow.notes (note text);
create view pgflow.open_runs as select run_id from pgflow.runs where status = 'started';
create view public.dashboard as
  select r.*, s.step_slug from pgflow.runs as r join pgflow.step_states as s using (run_id);
create function pgflow.noted() returns trigger language plpgsql as
  'begin insert into pgflow.notes values (new.flow_slug); return new; end';
create trigger note after insert on pgflow.runs for each row execute function pgflow.noted();
alter table pgflow.runs add column tenant text default 'nobody';
alter table pgflow.runs add constraint tenant_is_short check (length(tenant) < 20);
create index mine on pgflow.runs (tenant);
create function pgflow.prune_data_older_than(retention_interval interval) returns void language sql as '';
create table public.bills (run_id uuid references pgflow.runs);
"""


def connect(dsn):
    return psycopg.connect(dsn, autocommit=True)


def everything(conn):
    counts = {
        table: value(conn, f"select count(*) from {table}")
        for table in ("pgflow.flows", "pgflow.steps", "pgflow.runs", "pgflow.step_tasks", "pgmq.meta")
    }
    return foreign.catalog(conn, SCHEMAS), counts


@pytest.fixture(scope="module")
def old_dsn(_foreign_databases):
    dsn = _foreign_databases.create("0.14.1")
    yield dsn
    _foreign_databases.drop(dsn)


@pytest.fixture
def old(old_dsn):
    """A connection to a database of 0.14.1, inside a transaction that is taken back."""
    with connect(old_dsn) as conn, conn.transaction(force_rollback=True):
        yield conn


@pytest.mark.parametrize(
    "case", [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in REFUSED]
)
def test_what_is_in_the_way_is_said_and_nothing_is_changed(old, case):
    change, sentence = REFUSED[case]
    old.execute(change)
    before = everything(old)
    plan = adopt(old, carry_out=True)
    assert everything(old) == before
    assert not plan.done
    assert plan.changes == ()
    (said,) = plan.obstacles
    assert pytest.raises(AssertionError, match=sentence).matches(AssertionError(said)), said


@pytest.mark.slow
def test_a_database_without_pgmq_or_without_pgflow_is_refused(old, empty_dsn):
    old.execute("drop schema pgmq cascade")
    with pytest.raises(InstallError, match="has no pgmq"):
        adopt(old)
    with pytest.raises(InstallError, match=r"no schema pgflow .* `pgflow-mp install`"):
        adopt(empty_dsn)


def test_what_is_somebody_s_own_stays_as_it_is(foreign_dsn):
    with connect(foreign_dsn("0.14.1")) as conn:
        conn.execute(OWN)
        plan = adopt(conn, carry_out=True)
        assert plan.done, plan.obstacles
        said = "\n".join(plan.notes)
        for own in (
            "pgflow.notes is", "pgflow.open_runs is", "pgflow.noted()", "trigger note is", "column tenant is",
            "constraint tenant_is_short is", "index mine is", "pgflow.prune_data_older_than(interval)",
        ):  # fmt: skip
            assert own in said
        conn.execute("select pgflow.create_flow('mine'); select pgflow.add_step('mine', 'only')")
        run_id = value(conn, "select run_id from pgflow.start_flow('mine', '{}')")
        assert column(conn, "select note from pgflow.notes") == ["mine"]
        assert rows(conn, "select * from pgflow.open_runs") == [(run_id,)]
        assert value(conn, "select tenant from pgflow.runs") == "nobody"
        assert value(conn, "select step_slug from public.dashboard") == "only"
        assert adopt(conn).is_ours


@pytest.mark.slow
def test_slugs_of_before_the_strict_rule_stay_and_run(foreign_dsn):
    """generations SU-9."""
    with connect(foreign_dsn("0.14.1")) as conn:
        conn.execute("select pgflow.create_flow('_old'); select pgflow.add_step('_old', 'a__b')")
        run_id = value(conn, "select run_id from pgflow.start_flow('_old', '{}')")
        plan = adopt(conn, carry_out=True)
        assert plan.done
        assert [note for note in plan.notes if "newer cores refuse the slug of _old:" in note]
        assert [note for note in plan.notes if "newer cores refuse the slug of _old.a__b:" in note]
        # As a worker of Elixir does when it starts (generations 8.2), and as our compile does with an option.
        conn.execute("update pgflow.flows set flow_type = 'flow' where flow_slug = '_old'")
        conn.execute("update pgflow.steps set opt_timeout = 7 where step_slug = 'a__b'")
        conn.execute(
            "insert into pgflow.workers (queue_name, worker_id, function_name) values ('_old', %s, 'f')", (run_id,)
        )
        assert column(conn, "select step_slug from pgflow.start_tasks('_old', '{1}', %s)", run_id) == ["a__b"]
        conn.execute("select pgflow.complete_task(%s, 'a__b', 0, '1')", (run_id,))
        assert rows(conn, "select status, output from pgflow.runs") == [("completed", {"a__b": 1})]
        assert refusal(conn, "select pgflow.create_flow('_new')")[0] == "23514"
        assert refusal(conn, "select pgflow.add_step('_old', 'x__y')")[0] == "23514"
        conn.execute("select pgflow.delete_flow_and_data('_old')")
        assert value(conn, "select count(*) from pgflow.flows") == 0


@pytest.mark.slow
def test_a_transaction_that_holds_a_table_ends_the_attempt_in_time_and_hinders_nobody_else(foreign_dsn):
    dsn = foreign_dsn("0.15.1")
    with connect(dsn) as conn, psycopg.connect(dsn) as holder:
        conn.execute("select pgflow.create_flow('busy')")
        before = foreign.catalog(conn, SCHEMAS)
        holder.execute("lock table pgflow.step_tasks in row exclusive mode")
        slowest = 0.0
        errors = []

        def attempt():
            try:
                adopt(dsn, carry_out=True, patience=1.5)
            except InstallError as error:
                errors.append(str(error))

        begun = time.monotonic()
        adopting = threading.Thread(target=attempt)
        adopting.start()
        while adopting.is_alive():
            at = time.monotonic()
            conn.execute("select pgflow.start_flow('busy', '{}')")
            slowest = max(slowest, time.monotonic() - at)
            time.sleep(0.02)
        adopting.join()
        assert len(errors) == 1
        assert "is busy" in errors[0]
        assert "Nothing was changed" in errors[0]
        assert time.monotonic() - begun < 10
        assert slowest < 2  # not for all of the time
        assert foreign.catalog(conn, SCHEMAS) == before
        threading.Timer(1, holder.rollback).start()
        assert adopt(dsn, carry_out=True, patience=30).done


@pytest.mark.slow
def test_workers_beside_an_old_core_that_never_pause_are_in_nobody_s_way(foreign_dsn):
    """They reach its tables through views, which an adoption drops: neither waits for the other in a circle."""
    dsn = foreign_dsn("0.14.1")
    install(dsn)
    over = threading.Event()
    met = []

    def work():
        with connect(dsn) as conn:
            while not over.is_set():
                try:
                    conn.execute("select count(*) from pgflow_mp.core_step_tasks")
                except psycopg.Error as error:
                    met.append(error)
                    return

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        assert adopt(dsn, carry_out=True, patience=20).done
    finally:
        over.set()
        for worker in workers:
            worker.join()
    assert [type(error) for error in met] == [psycopg.errors.UndefinedTable] * len(workers)


@pytest.fixture
def roles(server_dsn):
    """Names of three login roles without rights: one that owns, one that works, one that starts."""
    names = [f"pgflow_{kind}_{uuid.uuid4().hex[:8]}" for kind in ("owner", "worker", "client")]
    with connect(server_dsn) as admin:
        for name in names:
            admin.execute(f"create role {name} login")
    yield names
    with connect(server_dsn) as admin:
        for name in names:
            admin.execute(f"drop role {name}")


@pytest.mark.slow
def test_whoever_could_use_it_before_can_after_and_everything_has_one_owner(server_dsn, roles):
    """D-11: a worker that may write tasks, a client that may start and read; adopted by a superuser for the owner."""
    owner, worker, client = roles
    name = f"pgflow_{uuid.uuid4().hex[:8]}"
    with connect(server_dsn) as admin:
        admin.execute(f"create database {name} owner {owner}")
    try:
        check_rights(make_conninfo(server_dsn, dbname=name), owner, worker, client)
    finally:
        with connect(server_dsn) as admin:
            admin.execute(f"drop database {name} with (force)")


def check_rights(dsn, owner, worker, client):
    with connect(make_conninfo(dsn, user=owner)) as conn:
        foreign.build(conn, "0.16.0")
        conn.execute("select pgflow.create_flow('Mine'); select pgflow.add_step('Mine', 'only')")
        conn.execute(f"""
            grant usage on schema pgflow, pgmq, realtime to {worker};
            grant select, insert, update on all tables in schema pgflow to {worker};
            grant select, insert, update, delete on all tables in schema pgmq to {worker};
            grant usage on all sequences in schema pgmq to {worker};
            revoke execute on function pgflow.start_tasks(text, bigint[], uuid) from public;
            grant execute on function pgflow.start_tasks(text, bigint[], uuid) to {worker};
            grant usage on schema pgflow to {client};
        """)
    with connect(make_conninfo(dsn, user=client)) as conn, pytest.raises(InstallError, match=f"is owned by {owner}"):
        adopt(conn)
    plan = adopt(dsn, carry_out=True)
    assert plan.done, plan.obstacles
    assert [change.text for change in plan.changes if change.about == "rights"] == [
        f"act as {owner}, who owns schema pgflow",
        f"let {worker}, which may write tasks, use schema pgflow_mp",
    ]
    with connect(dsn) as conn:
        owners = column(
            conn,
            "select distinct relowner::regrole::text from pg_class where relnamespace::regnamespace::text ~ '^pgflow' "
            "union select proowner::regrole::text from pg_proc where pronamespace::regnamespace::text ~ '^pgflow'",
        )
        assert owners == [owner]
    with connect(make_conninfo(dsn, user=client)) as conn:
        started = value(conn, "select pgflow.start_flow_with_states('Mine', '{}')")
        assert refusal(conn, "select * from pgflow.start_tasks('Mine', '{1}', null)")[0] == "42501"
    with connect(make_conninfo(dsn, user=worker)) as conn:
        worker_id = uuid.uuid4()
        conn.execute("insert into pgflow.workers values (%s, 'Mine', 'f')", (worker_id,))
        claimed = rows(conn, "select run_id, step_slug from pgflow.start_tasks('Mine', '{1}', %s)", worker_id)
        assert [(str(run_id), step) for run_id, step in claimed] == [(started["run"]["run_id"], "only")]
        conn.execute("select pgflow.complete_task(%s, 'only', 0, '2')", (claimed[0][0],))
        assert rows(conn, "select status, output from pgflow.runs") == [("completed", {"only": 2})]
    lines = install(make_conninfo(dsn, user=owner))
    assert all(line.endswith("nothing to do") for line in lines), lines
