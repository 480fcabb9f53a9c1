"""A database for every test, made from a template, and nothing left behind."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgflow_mp import postgres
from pgflow_mp.errors import PgflowError
from pgflow_mp.postgres import folders
from pytest_pgflow._databases import Databases, database_name, kept_dsn, session_name
from tests.postgres.helpers import open_temporary_folder


@pytest.fixture
def make(pgflow_server):
    """Make what one worker of a session has; all of it goes at the end."""
    made = []

    def make(**options):
        made.append(Databases(pgflow_server.dsn, **({"session": session_name()} | options)))
        return made[-1]

    yield make
    for databases in made:
        databases.close()


@pytest.fixture
def admin(pgflow_server):
    with psycopg.connect(pgflow_server.dsn, autocommit=True) as conn:
        yield conn


def names(admin):
    return {name for (name,) in admin.execute("select datname from pg_database").fetchall()}


def test_a_clone_has_everything_installed_and_nothing_in_it(make):
    with psycopg.connect(make().create(), autocommit=True) as conn:
        schemas = conn.execute("select nspname from pg_namespace where nspname ~ '^pg(flow|mq)' order by 1").fetchall()
        assert schemas == [("pgflow",), ("pgflow_mp",), ("pgmq",)]
        assert conn.execute("select count(*) from pgflow.flows").fetchone() == (0,)


def test_what_one_clone_holds_is_not_in_the_next(make):
    databases = make()
    with psycopg.connect(databases.create()) as conn:
        conn.execute("create table mine ()")
    with psycopg.connect(databases.create()) as conn:
        assert conn.execute("select to_regclass('mine')").fetchone() == (None,)


def test_a_database_is_dropped_even_while_somebody_is_connected(make, admin):
    databases = make()
    dsn = databases.create()
    with psycopg.connect(dsn):
        databases.drop(dsn)
    assert database_name(dsn) not in names(admin)


def test_the_last_session_to_close_drops_the_template(make, admin):
    first, second = make(), make()
    first.drop(first.create())
    second.drop(second.create())
    templates = {name for name in names(admin) if name.startswith("pgflow_template_")}
    assert templates
    first.close()
    assert templates <= names(admin)
    # The outer session may use the same template by the same rules; then it is still there.
    second.close()
    others = admin.execute(
        "select count(*) from pg_stat_activity where application_name like 'pgflow tests % pgflow_template_%'"
    )
    assert bool(templates & names(admin)) == (others.fetchone() != (0,))


def test_a_template_that_disappeared_is_made_again(make, admin):
    databases = make(setup=lambda _: None)
    databases.drop(databases.create())
    admin.execute(f'drop database "{databases._template}"')
    databases.drop(databases.create())


def test_databases_of_a_killed_session_are_swept_and_nothing_else_is(make, admin):
    dead, living = session_name(), make()
    alive = database_name(living.create())
    admin.execute(f"create database pgflow_t_{dead}_gw3_1")
    admin.execute(f"create database pgflow_t_{dead}_precious")
    kept = f"pgflow_kept_{dead}_main_1"
    admin.execute(f"create database {kept}")
    try:
        make().create()
        assert f"pgflow_t_{dead}_gw3_1" not in names(admin)
        assert {alive, kept, f"pgflow_t_{dead}_precious"} <= names(admin)
    finally:
        for name in (kept, f"pgflow_t_{dead}_precious"):
            admin.execute(f"drop database {name}")


def test_the_database_that_the_dsn_names_is_not_touched(make, admin, pgflow_server):
    admin.execute("create database named_by_the_user")
    try:
        dsn = make_conninfo(pgflow_server.dsn, dbname="named_by_the_user")
        databases = Databases(dsn, session=session_name())
        databases.create()
        databases.lasting("delete")
        with psycopg.connect(dsn) as conn:
            assert conn.execute("select count(*) from pg_namespace where nspname ~ '^pg(flow|mq)'").fetchone() == (0,)
        databases.close()
        assert "named_by_the_user" in names(admin)
    finally:
        admin.execute("drop database named_by_the_user with (force)")


def test_closing_drops_also_what_was_not_given_back(make, admin):
    databases = make()
    left = {database_name(databases.create()), database_name(databases.lasting("none").dsn)}
    databases.close()
    assert not left & names(admin)


def test_a_kept_database_has_the_name_that_was_told(make, admin):
    databases = make()
    dsn = databases.create()
    with psycopg.connect(dsn):
        databases.keep(dsn)
    databases.close()
    assert database_name(kept_dsn(dsn)) in names(admin)
    admin.execute(f'drop database "{database_name(kept_dsn(dsn))}"')


def test_a_template_whose_setup_fails_is_not_left_half_made(make, admin):
    def setup(dsn):
        raise RuntimeError("no tables today")

    session = session_name()
    with pytest.raises(RuntimeError, match="no tables today"):
        make(setup=setup, session=session).create()
    assert not {name for name in names(admin) if session in name}


def test_a_role_that_may_not_create_databases_gets_told_what_to_do(pgflow_server, admin):
    admin.execute("create role powerless login")
    databases = Databases(make_conninfo(pgflow_server.dsn, user="powerless"), session=session_name())
    try:
        with pytest.raises(PgflowError, match='alter role "powerless" createdb'):
            databases.create()
    finally:
        databases.close()
        admin.execute("drop role powerless")


ISOLATION = """
    import psycopg
    import pytest

    seen = []

    @pytest.mark.parametrize("turn", [1, 2])
    def test_it(pgflow_dsn, turn):
        with psycopg.connect(pgflow_dsn) as conn:
            name = conn.info.dbname
            found = conn.execute("select count(*) from pgflow_mp.installed").fetchone()
            flows = conn.execute("select array_agg(flow_slug) from pgflow.flows").fetchone()
            queue = conn.execute("select to_regclass('pgmq.q_left')").fetchone()[0]
            messages = conn.execute(f"select count(*) from {queue}").fetchone() if queue else None
            print("turn", turn, found, flows, messages, "same" if name in seen else "new")
            seen.append(name)
            conn.execute("select pgflow.create_flow('left')")
            conn.execute("select pgmq.send('left', '{}')")
"""


@pytest.mark.parametrize(
    ("isolation", "second"),
    [
        ("clone", "turn 2 (1,) (None,) None new"),
        ("delete", "turn 2 (1,) (['left'],) (0,) same"),
        ("none", "turn 2 (1,) (['left'],) (1,) same"),
    ],
)
def test_isolation_decides_what_a_test_sees_of_the_one_before(pytester, run_pytest, isolation, second):
    pytester.makepyfile(ISOLATION)
    result = run_pytest("-s", f"--pgflow-isolation={isolation}")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*turn 1 (1,) (None,) None new", f"*{second.replace('[', '[[]')}"])


def test_a_shared_database_lends_its_connections_to_one_test_after_the_other(make, admin):
    databases = make()
    dsn = databases.lasting("delete").dsn
    first = databases.spares.take(dsn)
    first.execute("set timezone = 'Asia/Tokyo'")
    databases.spares.give(dsn, first)
    second = databases.spares.take(dsn)
    assert second is first
    assert second.execute("show timezone").fetchone() != ("Asia/Tokyo",)
    databases.spares.give(dsn, second)
    admin.execute("select pg_terminate_backend(%s, 5000)", [first.info.backend_pid])
    third = databases.spares.take(dsn)
    assert third.execute("select 1").fetchone() == (1,)
    with third.transaction():
        databases.spares.give(dsn, third)  # in the middle of something: of no use to the next test
        assert third.closed
    databases.close()


def test_a_marker_gives_one_test_another_isolation(pytester, run_pytest):
    pytester.makepyfile(
        """
        import psycopg
        import pytest

        names = []

        @pytest.mark.pgflow(isolation="none")
        @pytest.mark.parametrize("turn", [1, 2])
        def test_shared(pgflow_conn, turn):
            names.append(pgflow_conn.info.dbname)

        def test_own(pgflow_conn):
            assert names[0] == names[1] != pgflow_conn.info.dbname
        """
    )
    run_pytest().assert_outcomes(passed=3)


def test_a_setup_function_fills_the_template_once(pytester, run_pytest):
    pytester.makeconftest(
        """
        import psycopg
        import pytest

        calls = []

        def tables(dsn):
            calls.append(dsn)
            with psycopg.connect(dsn) as conn:
                conn.execute("create table orders (id int)")

        @pytest.fixture(scope="session")
        def pgflow_settings():
            return {"setup": tables}
        """
    )
    pytester.makepyfile(
        """
        import pytest
        from conftest import calls

        @pytest.mark.parametrize("turn", [1, 2])
        def test_it(pgflow_conn, turn):
            assert pgflow_conn.execute("select count(*) from orders").fetchone() == (0,)
            pgflow_conn.execute("insert into orders values (1)")
            assert len(calls) == 1
        """
    )
    run_pytest("-p", "no:randomly").assert_outcomes(passed=2)


SHUFFLE = """
    import random

    def pytest_collection_modifyitems(items):
        random.Random({seed}).shuffle(items)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_tests_of_every_isolation_may_run_in_any_order(pytester, run_pytest, seed):
    pytester.makeconftest(SHUFFLE.format(seed=seed))
    pytester.makepyfile(
        """
        import pytest
        from pgflow_mp import Flow, step
        from pytest_pgflow import factories

        shared_dsn = factories.dsn(scope="module")
        shared_runner = factories.flow_runner("shared_dsn", scope="module")

        class Count(Flow):
            @step
            def count(flow_input):
                return flow_input

        @pytest.mark.parametrize("isolation", ["clone", "delete"])
        @pytest.mark.parametrize("turn", [1, 2])
        class TestAlone:
            @pytest.fixture(autouse=True)
            def _isolation(self, request, isolation):
                request.node.add_marker(pytest.mark.pgflow(isolation=isolation))

            def test_alone(self, _isolation, request, turn):
                conn = request.getfixturevalue("pgflow_conn")
                request.getfixturevalue("flow_runner").run(Count, turn)
                assert conn.execute("select count(*) from pgflow.runs").fetchone() == (1,)

        @pytest.mark.pgflow(isolation="none")
        @pytest.mark.parametrize("turn", [1, 2])
        def test_shared(flow_runner, turn):
            assert flow_runner.run(Count, turn).output == {"count": turn}

        @pytest.mark.parametrize("turn", [1, 2])
        def test_with_the_module(shared_runner, turn):
            assert shared_runner.run(Count, turn).output == {"count": turn}
        """
    )
    run_pytest().assert_outcomes(passed=8)


@pytest.mark.parametrize("cache", ["-p no:cacheprovider", ""])
def test_the_cache_of_pytest_is_not_needed(pytester, run_pytest, cache):
    pytester.makeini(f"[pytest]\naddopts = {cache} -p no:asyncio -p no:hypothesispytest\nfilterwarnings = error")
    pytester.makepyfile("def test_it(pgflow_conn): assert pgflow_conn.execute('select 1').fetchone() == (2,)")
    for options in ((), () if cache else ("--lf",)):
        run_pytest(*options).assert_outcomes(failed=1)
    assert pytester.path.joinpath(".pytest_cache").exists() is not bool(cache)


@pytest.mark.slow
def test_workers_of_xdist_share_a_server_without_meeting(pytester, run_pytest, admin):
    before = names(admin)
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("turn", range(6))
        def test_it(pgflow_conn, worker_id, turn):
            assert f"_{worker_id}_" in pgflow_conn.info.dbname
            assert pgflow_conn.execute("select count(*) from pgflow.flows").fetchone() == (0,)
            pgflow_conn.execute("select pgflow.create_flow('left')")
        """
    )
    run_pytest("-n", "2", apart=True).assert_outcomes(passed=6)
    assert {name for name in names(admin) if "_gw" in name} <= before


def test_a_server_that_does_not_answer_is_named_without_its_password(pytester, run_pytest):
    pytester.makepyfile("def test_it(pgflow_dsn): ...")
    result = run_pytest(dsn="host=/nowhere user=me password=secret")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines("pgflow tests have no database server: *host=/nowhere*")
    result.stdout.no_fnmatch_line("*secret*")


def test_without_a_dsn_an_embedded_server_is_started_and_gone_afterwards(pytester, run_pytest):
    pytester.makepyfile(
        """
        def test_it(pgflow_server, pgflow_conn):
            print("server", pgflow_server.kind, pgflow_server.version, pgflow_server.dsn)
            assert pgflow_server.log_tail()
        """
    )
    result = run_pytest("-s", "--pgflow-server=embedded", dsn=None, apart=True)
    result.assert_outcomes(passed=1)
    line = next(line for line in result.outlines if "server embedded" in line)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(line.partition("embedded ")[2].partition(" ")[2])


@pytest.fixture
def home(monkeypatch):
    """A home of its own for the server that sessions use again."""
    with open_temporary_folder() as folder:
        monkeypatch.setenv("XDG_DATA_HOME", str(folder))
        yield folder
        for data in folder.glob("pgflow-mp/tests-*/data"):
            folders.erase(data.resolve().parent)


@pytest.mark.slow
def test_server_and_template_are_used_again_on_request(pytester, run_pytest, home):
    pytester.makepyfile(
        """
        def test_it(pgflow_conn):
            (oid,) = pgflow_conn.execute("select oid from pg_database where datname ~ 'template_'").fetchone()
            (made,) = pgflow_conn.execute("select system_identifier from pg_control_system()").fetchone()
            (data,) = pgflow_conn.execute("show data_directory").fetchone()
            print("its template", oid, made, data)
        """
    )
    told = []
    for _ in range(2):
        result = run_pytest("-s", "--pgflow-reuse", dsn=None)
        result.assert_outcomes(passed=1)
        told.append(next(line for line in result.outlines if "its template" in line))
    assert told[0] == told[1]
    assert str(home) in told[0]
    with postgres.reused() as server, psycopg.connect(server.dsn) as conn:
        assert {name for name in names(conn) if "_t_" in name} == set()


@pytest.mark.slow
def test_a_template_of_other_sql_goes_when_a_new_one_is_made(home):
    with postgres.reused() as server, psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute("create database pgflow_template_0123456789ab")
        conn.execute("create database pgflow_template_precious")
        databases = Databases(server.dsn, session=session_name(), hasty=True, lasting=True)
        databases.create()
        databases.close()
        left = {name for name in names(conn) if name.startswith("pgflow_")}
    assert left == {databases._template, "pgflow_template_precious"}


def test_nothing_starts_unless_a_fixture_asks(pytester, run_pytest):
    pytester.makeconftest(
        """
        import sys

        def pytest_sessionfinish(session):
            assert "pytest_pgflow" in sys.modules
            heavy = ("psycopg", "pgmq", "multiprocess", "cloudpickle", "pgflow_mp", "pytest_pgflow._session")
            print("loaded:", [name for name in heavy if name in sys.modules])
        """
    )
    pytester.makepyfile("def test_it(): ...")
    result = run_pytest("-s", dsn="host=/nowhere", apart=True)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines("*loaded: [[]]")


@pytest.mark.parametrize(
    ("autoload", "args"), [(True, []), (True, ["-p", "pytest_pgflow"]), (False, ["-p", "pytest_pgflow"])]
)
def test_the_plugin_loads_by_itself_and_by_name(pytester, run_pytest, monkeypatch, autoload, args):
    if not autoload:
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile("def test_it(pgflow_settings): assert pgflow_settings == {}")
    run_pytest(*args, apart=True).assert_outcomes(passed=1)


def test_the_plugin_loads_from_a_conftest(pytester, run_pytest):
    pytester.makeconftest('pytest_plugins = ["pytest_pgflow"]')
    pytester.makepyfile("def test_it(pgflow_settings): assert pgflow_settings == {}")
    run_pytest(apart=True).assert_outcomes(passed=1)


@pytest.mark.slow
def test_a_server_that_dies_fails_the_tests_in_words_and_ends_the_session(pytester, run_pytest):
    pytester.makepyfile(
        """
        import os
        import signal
        from pathlib import Path

        from pgflow_mp import Flow, step

        class Small(Flow):
            @step
            def work(): ...

        def test_1_before(flow_runner):
            flow_runner.run(Small)

        def test_2_kills(pgflow_conn):
            (data,) = pgflow_conn.execute("show data_directory").fetchone()
            os.kill(int(Path(data, "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
            pgflow_conn.execute("select pg_sleep(5)")

        def test_3_after(pgflow_conn): ...

        def test_3_after_with_a_runner(flow_runner): ...

        def test_4_without_a_database(): ...
        """
    )
    with postgres.start("embedded") as server:
        result = run_pytest(dsn=server.dsn, apart=True)
    result.assert_outcomes(passed=2, failed=1, errors=2)
    result.stdout.fnmatch_lines(["this test gets no database: *Check that the server runs*"] * 2)


def test_a_connection_that_was_lost_is_opened_again(make, admin):
    databases = make()
    databases.drop(databases.create())
    admin.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name like %s",
        [f"{databases._mark()}%"],
    )
    with pytest.raises(psycopg.OperationalError):
        databases.create()
    databases.drop(databases.create())
