"""Our functions beside a schema pgflow of somebody else: rendering, installing, what foreign keys would have done.

Issue 8 point 4; generations 10.
"""

import itertools
import re
import uuid
from dataclasses import replace
from types import SimpleNamespace

import psycopg
import pytest
from psycopg import conninfo

from pgflow_mp import Flow, PgFlow, job, step
from pgflow_mp.core import beside, scripts
from pgflow_mp.core.install import install
from pgflow_mp.core.queries.definitions import check_flow, list_flows
from pgflow_mp.core.queries.retention import sweep
from pgflow_mp.core.statement import execute
from pgflow_mp.engine.workoff import work_off
from pgflow_mp.errors import FlowNotFound, InstallError
from pgflow_mp.flow import as_definition
from tests.core.ask import column, rows, value
from tests.core.foreign import BUILT, catalog, upgrade
from tests.engine.harness import working


@job
def tidy():
    """Nothing to do."""


SHAPES = ("0.17.1", *(pytest.param(name, marks=pytest.mark.slow) for name in ("0.17.0", "elixir 0.4")))


class Greet(Flow):
    @step
    def hello(flow_input):
        return f"hello {flow_input['name']}"

    @step(depends_on=[hello])
    def shout(hello):
        return hello.upper()


@pytest.fixture(params=SHAPES)
def foreign(request, foreign_dsn):
    """A database with the schema of a core that is served as a set."""
    return foreign_dsn(request.param)


def test_nothing_of_a_foreign_schema_is_changed(foreign):
    with psycopg.connect(foreign, autocommit=True) as conn:
        before = catalog(conn)
        lines = install(foreign)
        assert catalog(conn) == before
        (said,) = [line for line in lines if line.startswith("core: the ")]
        assert "beside it and has changed nothing of it" in said
        again = install(foreign)
        assert catalog(conn) == before
    assert all(line.endswith("nothing to do") for line in again), again


def test_flows_run_beside_a_foreign_schema(foreign):
    install(foreign)
    with PgFlow(foreign) as app, psycopg.connect(foreign, autocommit=True) as conn:
        assert app.compile(Greet).status == "compiled"
        run_id = app.start_flow(Greet, {"name": "ada"}, idempotency_key="a")
        assert app.start_flow(Greet, {"name": "ada"}, idempotency_key="a") == run_id
        work_off(conn, [as_definition(Greet)], [run_id], out_of_time=lambda: False)
        assert app.get_run(run_id).output == {"shout": "HELLO ADA"}
        conn.execute("delete from pgflow.step_tasks; delete from pgflow.step_states; delete from pgflow.runs")
        assert app.start_flow(Greet, {"name": "ada"}, idempotency_key="a") != run_id
        with pytest.raises(FlowNotFound):
            app.schedule("no_such_flow", name="nightly", cron="0 0 * * *")
        app.delete_flow(Greet)
        assert not app.flow_exists(Greet)


def test_options_of_a_foreign_flow_are_told_and_left(foreign):
    """D-17: what is enforced is what the database says."""
    install(foreign)
    changed = replace(as_definition(Greet), timeout=7)
    with PgFlow(foreign) as app, psycopg.connect(foreign, autocommit=True) as conn:
        app.compile(Greet)
        said = ("timeout of the flow: 60 -> 7",)
        compiled = app.compile(changed)
        assert (compiled.status, compiled.options_changed, compiled.options_left) == ("verified", (), said)
        checked = execute(conn, check_flow(changed.slug, changed.shape()))
        assert (checked.options_changed, checked.options_left, checked.nothing_to_do) == ((), said, True)
        (stored,) = execute(conn, list_flows())
        assert stored.timeout == 60


def test_a_job_is_one_beside_a_core_without_jobs(foreign):
    install(foreign)
    with PgFlow(foreign) as app, psycopg.connect(foreign, autocommit=True) as conn:
        app.compile(as_definition(tidy))
        (stored,) = execute(conn, list_flows())
        assert (stored.slug, stored.flow_type) == ("tidy", "job")
        app.delete_flow("tidy")
        assert execute(conn, list_flows()) == []


def test_what_others_delete_is_forgotten(foreign):
    """Where the contract is ours, foreign keys do that; on foreign tables there are none of ours."""
    install(foreign)
    with PgFlow(foreign) as app, psycopg.connect(foreign, autocommit=True) as conn:
        app.compile(Greet)
        app.schedule("greet", name="daily", cron="0 0 * * *")
        app.pause_flow("greet")
        cancelled = app.start_flow(Greet, {"name": "a"}, idempotency_key="a")
        app.cancel_run(cancelled)
        kept = app.start_flow(Greet, {"name": "b"}, idempotency_key="b")
        execute(conn, sweep(100, 0.0))
        assert memories(conn) == {"run_keys": 2, "runs": 1, "schedules": 1, "paused_flows": 1}
        for table in ("step_tasks", "step_states", "runs"):
            conn.execute(f"delete from pgflow.{table} where run_id = %s", [cancelled])
        conn.execute("select pgflow_mp._forget_the_gone('0')")
        assert memories(conn) == {"run_keys": 1, "schedules": 1, "paused_flows": 1}
        assert app.get_run(kept).status == "started"
        conn.execute("select pgflow.delete_flow_and_data('greet')")
        assert app.paused_flows()
        conn.execute("update pgflow_mp.housekeeping set forgot_at = null")
        execute(conn, sweep(100, 0.0))
        assert memories(conn) == {}


def memories(conn):
    """How many rows our tables of runs and flows have, of those that have any."""
    tables = ("run_keys", "runs", "carriers", "task_progress", "schedules", "paused_flows", "dynamic_flows")
    counted = {table: value(conn, f"select count(*) from pgflow_mp.{table}") for table in tables}
    return {table: count for table, count in counted.items() if count}


@pytest.mark.slow
@pytest.mark.parametrize("generation", BUILT)
def test_every_name_in_a_function_is_there(foreign_dsn, generation):
    """Also in texts that are executed; plpgsql would find a wrong one only when it gets there."""
    dsn = foreign_dsn(generation)
    install(dsn)
    with psycopg.connect(dsn, autocommit=True) as conn:
        there = set(
            column(
                conn,
                "select n.nspname || '.' || thing.name from pg_namespace as n join ("
                "select relnamespace as home, relname as name from pg_class union "
                "select pronamespace, proname from pg_proc) as thing on n.oid = thing.home "
                "where n.nspname in ('pgflow', 'pgflow_mp')",
            )
        )
        bodies = rows(conn, "select proname, prosrc from pg_proc where pronamespace = 'pgflow_mp'::regnamespace")
        functions = set(column(conn, "select proname from pg_proc where pronamespace = 'pgflow'::regnamespace"))
    assert len(bodies) > 100
    for name, body in bodies:
        code = re.sub(r"--.*", "", body)
        named = set(re.findall(r"(?<![\w.])pgflow(?:_mp)?\.\w+", code))
        assert named <= there, name
        assert not {each for each in named if each.removeprefix("pgflow.") in functions}, name
        assert {f"pgflow.{each}" for each in re.findall(r'"pgflow"\.(\w+)', code)} <= there, name


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [("0.14.1", "0.15.1", "0.16.0", "0.17.0", "0.17.1"), ("elixir 0.3", "elixir 0.4")], ids=" ".join
)
def test_runs_outlive_the_upgrades_of_a_core(foreign_dsn, path):
    """Also from one that is served through views of its tables to one whose tables have it all."""
    dsn = foreign_dsn(path[0])
    flow = as_definition(Greet)
    with psycopg.connect(dsn, autocommit=True) as conn, PgFlow(dsn) as app:
        install(dsn)
        app.compile(Greet)
        app.pause_flow(Greet)
        open_runs = {app.start_flow(Greet, {"name": path[0]}, idempotency_key="first"): path[0]}
        for was, generation in itertools.pairwise(path):
            upgrade(conn, was, generation)
            assert any("was changed since the last install" in line for line in install(dsn))
            open_runs[app.start_flow(Greet, {"name": generation})] = generation
        assert app.start_flow(Greet, {"name": "again"}, idempotency_key="first") in open_runs
        app.resume_flow(Greet)
        work_off(conn, [flow], list(open_runs), out_of_time=lambda: False)
        for run_id, name in open_runs.items():
            assert app.get_run(run_id).output == {"shout": f"HELLO {name.upper()}"}


def test_a_core_that_is_unknown_is_refused(empty_dsn):
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute("create schema pgflow; create table pgflow.flows (flow_slug text)")
        with pytest.raises(InstallError, match="schema pgflow that pgflow-mp did not make and cannot work with"):
            install(conn)
        assert column(conn, "select nspname from pg_namespace where nspname ~ '^pg(flow_mp|mq)'") == []


def test_a_changed_core_gets_functions_made_for_it(foreign_dsn):
    foreign = foreign_dsn("0.17.0")
    install(foreign)
    with psycopg.connect(foreign, autocommit=True) as conn:
        assert value(conn, "select to_regclass('pgflow_mp.core_flows') is not null")
        conn.execute("alter table pgflow.flows add column flow_type text not null default 'flow'")
        lines = install(foreign)
        assert any("was changed since the last install" in line for line in lines), lines
        assert value(conn, "select to_regclass('pgflow_mp.core_flows') is null")
        assert not re.search(
            "core_flows",
            "".join(column(conn, "select prosrc from pg_proc where pronamespace = 'pgflow_mp'::regnamespace")),
        )


def test_a_name_that_a_core_does_not_have_is_refused_when_it_is_rendered():
    lacking = SimpleNamespace(
        columns={"flows": ("flow_slug",)}, calls={}, hardened=True, realtime=False, name="it", has=lambda *_: False
    )
    with pytest.raises(InstallError, match=r"pgflow-mp needs pgflow\.\w+, which it does not have"):
        beside.render(scripts.root(), lacking)


@pytest.fixture(
    params=[
        "0.17.1",
        pytest.param("0.14.1", marks=pytest.mark.slow),
        pytest.param("0.8.1", marks=pytest.mark.npm),
    ]
)
def three_roles(request, foreign_dsn):
    """DSNs by role of a foreign database whose owner is none of them: installer, worker and client."""
    owner_dsn = foreign_dsn(request.param)
    tag = uuid.uuid4().hex[:8]
    names = {kind: f"pgflow_{kind}_{tag}" for kind in ("installer", "worker", "client")}
    database = conninfo.conninfo_to_dict(owner_dsn)["dbname"]
    with psycopg.connect(owner_dsn, autocommit=True) as admin:
        for name in names.values():
            admin.execute(f"create role {name} login nosuperuser")
        admin.execute(f'grant create on database "{database}" to {names["installer"]}')
    yield {kind: conninfo.make_conninfo(owner_dsn, user=name) for kind, name in names.items()}, names, owner_dsn
    with psycopg.connect(owner_dsn, autocommit=True) as admin:
        for name in names.values():
            admin.execute(f"drop owned by {name} cascade")
            admin.execute(f"drop role {name}")


def grants_in(text):
    return "; ".join(re.findall(r"grant [^;]+? on [^;]+? to \"\w+\"", text))


def test_roles_beside_get_what_the_installer_may_grant_and_the_rest_is_said(three_roles):
    dsns, names, owner = three_roles
    with psycopg.connect(owner, autocommit=True) as admin:
        with pytest.raises(
            InstallError, match="let its owner run: grant usage on schema pgflow, realtime to"
        ) as refused:
            install(dsns["installer"])
        admin.execute(grants_in(str(refused.value)))
        lines = install(dsns["installer"], worker_roles=[names["worker"]], client_roles=[names["client"]])
        (said,) = [line for line in lines if names["worker"] in line]
        assert "may work once the owner of schema pgflow, who is not" in said
        admin.execute(grants_in(said))
    assert f"roles: {names['worker']} may work" in install(dsns["installer"])
    with PgFlow(dsns["installer"]) as app:
        app.compile(Greet)
    with working(dsns["worker"], Greet, processes=1), PgFlow(dsns["client"]) as app:
        assert app.start_flow_sync(Greet, {"name": "ada"}, timeout=30).output == {"shout": "HELLO ADA"}
    with (
        psycopg.connect(owner, autocommit=True) as admin,
        psycopg.connect(dsns["worker"], autocommit=True) as worker,
    ):
        admin.execute("select pgflow.create_flow('theirs'); select pgflow.add_step('theirs', 'a')")
        admin.execute("select pgflow.start_flow('theirs', '{}')")
        # A queue that its owner made later, and granted nobody, is in the way of no other.
        assert value(worker, "select pgflow_mp.recover_tasks()") == 0
