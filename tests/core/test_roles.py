"""Least rights: the real worker and the real client under roles that have what `install` gives them and no more.

Rules: issue 3 point 6; core E-1, E-3; D-11.
"""

import uuid

import psycopg
import pytest
from psycopg import conninfo

from pgflow_mp import Flow, PgFlow, map_step, step
from pgflow_mp.core.install import install
from pgflow_mp.errors import InstallError, NotPermitted
from tests.engine.harness import working

from .ask import column, refusal, rows, value

# All that a client may execute.
FUNCTIONS_OF_CLIENTS = [
    "pgflow.flow_exists",
    "pgflow.get_run_with_states",
    "pgflow.start_flow_with_states",
    "pgflow_mp.active_runs",
    "pgflow_mp.cancel_runs",
    "pgflow_mp.carry",
    "pgflow_mp.delete_schedule",
    "pgflow_mp.enqueue",
    "pgflow_mp.flow_activity",
    "pgflow_mp.flow_details",
    "pgflow_mp.get_retention",
    "pgflow_mp.get_run",
    "pgflow_mp.has_flow",
    "pgflow_mp.installation",
    "pgflow_mp.list_runs",
    "pgflow_mp.list_schedules",
    "pgflow_mp.list_workers",
    "pgflow_mp.pause_schedule",
    "pgflow_mp.paused_flows",
    "pgflow_mp.queue_depths",
    "pgflow_mp.retry_run",
    "pgflow_mp.run_details",
    "pgflow_mp.run_progress",
    "pgflow_mp.run_schedule",
    "pgflow_mp.set_schedule",
    "pgflow_mp.start_flows",
    "pgflow_mp.start_once",
    "pgflow_mp.worker_details",
]


class Letters(Flow, base_delay=0, max_attempts=2):
    """A map, a step that fails once, and a join."""

    @step
    def split(flow_input):
        return list(flow_input)

    @map_step(over=split)
    def upper(item):
        return item.upper()

    @step
    def flaky(split, ctx):
        if ctx.attempt == 1:
            raise RuntimeError("once")
        return len(split)

    @step
    def join(upper, flaky):
        return "".join(upper) + str(flaky)


class Later(Flow):
    """A flow that is made after the roles."""

    @step
    def only(flow_input):
        return flow_input


@pytest.fixture
def installed(server_dsn):
    """DSNs of a database for installer, worker and client, each a login role that is no superuser."""
    tag = uuid.uuid4().hex[:8]
    names = {kind: f"pgflow_{kind}_{tag}" for kind in ("installer", "worker", "client")}
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        for name in names.values():
            admin.execute(f"create role {name} login nosuperuser")
        admin.execute(f"create database pgflow_{tag} owner {names['installer']}")
    dsns = {kind: conninfo.make_conninfo(server_dsn, dbname=f"pgflow_{tag}", user=name) for kind, name in names.items()}
    try:
        install(dsns["installer"], worker_roles=[names["worker"]], client_roles=[names["client"]])
        yield dsns | {"names": names}
    finally:
        with psycopg.connect(server_dsn, autocommit=True) as admin:
            admin.execute(f"drop database if exists pgflow_{tag} with (force)")
            for name in names.values():
                admin.execute(f"drop role {name}")


def session(dsn):
    return psycopg.connect(dsn, autocommit=True)


def test_the_real_worker_and_client_do_their_work(installed):
    """Also in queues that were made after the roles were set up."""
    with PgFlow(installed["installer"]) as owner:
        owner.compile(Letters)
        owner.compile(Later)
    with working(installed["worker"], Letters, Later), PgFlow(installed["client"]) as app:
        assert app.start_flow_sync(Letters, "abc", timeout=30).output == {"join": "ABC3"}
        assert app.start_flow_sync(Later, 7, timeout=30).output == {"only": 7}
        run_id = app.start_flow(Later, [1])
        assert app.get_run(run_id).flow_slug == "later"
        assert app.flow_exists(Later)
    with session(installed["installer"]) as conn:
        assert (
            column(conn, "select current_user where (select rolsuper from pg_roles where rolname = current_user)") == []
        )


def test_a_worker_recovers_and_gives_back(installed):
    """D-3, D-4: what only shows when another worker dies."""
    with session(installed["installer"]) as conn:
        conn.execute("select pgflow.create_flow('f', 5, 0, 1); select pgflow.add_step('f', 'a')")
    with session(installed["worker"]) as conn:
        worker = uuid.uuid4()
        conn.execute(
            "select pgflow_mp.register_workers(array[%s::uuid], array['f'], 'fn', 'h', null, 1, null, null, '0')",
            [worker],
        )
        conn.execute("select * from pgflow_mp.start_flows('f', array['1', '2']::jsonb[])")
        claim = (
            "select run_id, step_slug, task_index, attempt "
            "from pgflow_mp.claim_tasks(array['f'], array[%s::uuid], array[9])"
        )
        first, second = rows(conn, claim, worker)
        back = "select pgflow_mp.give_back_tasks(array[%s], array[%s], array[%s], array[%s], array[%s::uuid])"
        assert value(conn, back, *first, worker) == 1
        assert value(conn, "select count(*) from pgflow_mp.held_tasks(array[%s::uuid])", worker) == 1
        conn.execute("select pgflow_mp.mark_workers_stopped(array[%s::uuid])", [worker])
        assert value(conn, "select pgflow_mp.recover_tasks()") == 1
        assert value(conn, "select pgflow.requeue_stalled_tasks()") == 0
        assert len(rows(conn, claim, worker)) == 2
        assert rows(conn, "select * from pgflow.complete_task(%s, 'a', 0, '1')", second[0])
        assert value(conn, "select count(*) from pgflow.fail_task(%s, 'a', 0, 'boom')", first[0]) == 1


@pytest.mark.parametrize(
    "attempt",
    [
        "select pgflow.create_flow('mine')",
        "select pgflow.add_step('letters', 'more')",
        "select pgflow.delete_flow_and_data('letters')",
        "select * from pgflow.prune_data_older_than(interval '0', null)",
        "update pgflow.flows set opt_timeout = 1",
        "delete from pgflow.runs",
        "delete from pgflow.workers",
        "drop table pgflow.runs",
        "select pgmq.drop_queue('letters')",
        "select pgflow.setup_requeue_stalled_tasks_cron()",
    ],
)
def test_a_worker_changes_no_definition_and_deletes_no_history(installed, attempt):
    with PgFlow(installed["installer"]) as owner:
        owner.compile(Letters)
    with session(installed["worker"]) as conn:
        assert refusal(conn, attempt)[0] == "42501"


def test_a_worker_verifies_its_flows(installed):
    """D-11: serve under the worker's role compiles nothing, but sees that all is as it should be."""
    with PgFlow(installed["installer"]) as owner:
        owner.compile(Letters)
    with PgFlow(installed["worker"]) as app:
        assert app.compile(Letters).status == "verified"
        with pytest.raises(NotPermitted):
            app.compile(Later)


def test_a_client_can_start_and_read_and_nothing_else(installed):
    """Of all functions it may execute those alone, and those that do nothing without rights on tables."""
    with PgFlow(installed["installer"]) as owner:
        owner.compile(Later)
    with session(installed["client"]) as conn:
        conn.execute("select * from pgflow_mp.start_flows('later', array['1']::jsonb[])")
        for table in ("pgflow.runs", "pgflow.step_tasks", "pgflow_mp.workers", "pgflow_mp.installed"):
            assert refusal(conn, f"select * from {table}")[0] == "42501"
        assert refusal(conn, "select * from pgmq.q_later")[0] == "42501"
        mine = column(
            conn,
            "select n.nspname || '.' || p.proname from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace "
            "where n.nspname in ('pgflow', 'pgflow_mp') and (p.prosecdef or n.nspname = 'pgflow_mp') "
            "and has_function_privilege(p.oid, 'execute') order by 1",
        )
        assert mine == FUNCTIONS_OF_CLIENTS
        for call in (
            "select * from pgflow.start_flow('later', '1')",
            "select * from pgflow.complete_task(gen_random_uuid(), 'only', 0, '1')",
            "select * from pgflow.start_tasks('later', array[1], null)",
            "select pgflow_mp.recover_tasks('0 seconds')",
            "select pgflow.requeue_stalled_tasks()",
            "select pgflow.create_flow('mine')",
        ):
            assert refusal(conn, call)[0] == "42501", call


def test_a_later_install_remembers_the_roles(installed):
    """What an update adds is granted again, and closed to PUBLIC, without the options."""
    with session(installed["installer"]) as conn:
        conn.execute(
            "create function pgflow_mp.added() returns int "
            "language sql security definer set search_path = '' as 'select 1'"
        )
    lines = install(installed["installer"])
    names = installed["names"]
    assert lines[-2:] == [f"roles: {names['worker']} may work", f"roles: {names['client']} may start and read"]
    with session(installed["worker"]) as conn:
        assert value(conn, "select pgflow_mp.added()") == 1
    with session(installed["client"]) as conn:
        assert refusal(conn, "select pgflow_mp.added()")[0] == "42501"


def test_without_roles_nothing_is_granted_or_revoked(db):
    """core E-3: no grants to any role are issued."""
    sql = (
        "select count(*) from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace "
        "where n.nspname in ('pgflow', 'pgflow_mp') and p.proacl is not null"
    )
    assert value(db, sql) == 0


def test_an_unknown_role_is_a_sentence(empty_dsn):
    with pytest.raises(InstallError, match="there is no role 'nobody_of_this_name'; make it first"):
        install(empty_dsn, worker_roles=["nobody_of_this_name"])
    with session(empty_dsn) as conn:
        assert value(conn, "select to_regnamespace('pgflow')") is None


def test_functions_with_their_owner_s_rights_are_these_and_look_nowhere_but_where_they_say(db):
    """core E-1, 3.0; D-11; issue 3 point 6: their search_path is exactly the empty one, so that no caller's schema is
    looked in."""
    found = rows(
        db,
        "select p.oid::regprocedure::text, setting from pg_proc as p "
        "join pg_namespace as n on n.oid = p.pronamespace "
        "left join lateral unnest(p.proconfig) as setting on setting like 'search_path=%%' "
        "where n.nspname in ('pgflow', 'pgflow_mp') and p.prosecdef",
    )
    of_workers_and_operators = {
        "pgflow.cleanup_ensure_workers_logs",
        "pgflow.recover_stalled_tasks",
        "pgflow.requeue_stalled_tasks",
        "pgflow.setup_ensure_workers_cron",
        "pgflow.setup_requeue_stalled_tasks_cron",
        "pgflow_mp.due_schedules",
        "pgflow_mp.dynamic_details",
        "pgflow_mp.dynamic_flows",
        "pgflow_mp.held_tasks",
        "pgflow_mp.recover_tasks",
        "pgflow_mp.sweep",
        "pgflow_mp.recover_tasks_observed",
        "pgflow_mp.report_progress",
        "pgflow_mp.start_ticks",
        "pgflow_mp.stirred_flows",
    }
    assert {name.partition("(")[0] for name, _ in found} == of_workers_and_operators | set(FUNCTIONS_OF_CLIENTS)
    assert {setting for _, setting in found} == {'search_path=""'}
