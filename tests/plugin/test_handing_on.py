"""A database that only the runner has seen goes to the next test; any other one goes to nobody."""

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pgflow_mp import Flow, step
from pytest_pgflow._databases import Databases, session_name
from pytest_pgflow._handing_on import MOST_FLOWS
from pytest_pgflow._migrations import Migrations

# What a test knows of its database without looking into it; those that look tell what they find there.
SESSION = """
import psycopg
import pytest
from pgflow_mp import Flow, Schedule, step
from pytest_pgflow import factories

another_runner = factories.flow_runner()
used = []


class First(Flow):
    @step
    def work(flow_input):
        return flow_input


class Second(Flow):
    @step
    def work(ctx):
        with ctx.connection() as conn:
            found = "select array(select flow_slug from pgflow.flows), (select count(*)::int from pgflow.runs)"
            return list(conn.execute(found).fetchone())


class Third(Flow):
    @step
    def work():
        return 3

    @step
    def rest(work):
        return work


@pytest.fixture(autouse=True)
def told(request, caplog):
    yield
    names = [record.getMessage() for record in caplog.records if record.name == "pytest_pgflow"]
    assert not names, "nothing was recompiled that this test has defined"


def database(runner):
    return runner._dsn  # runner.dsn would say that we look


def tables_of_flows(conn):
    return [row[0] for row in conn.execute("select flow_slug from pgflow.flows order by 1")]
"""


@pytest.fixture
def session(pytester, run_pytest):
    def run(tests, *args):
        pytester.makepyfile(test_it=SESSION + tests)
        return run_pytest(*args)

    return run


def test_a_database_goes_on_while_only_runners_have_it_and_to_nobody_once_somebody_looked(session):
    result = session(
        """
def test_1(flow_runner):
    assert flow_runner.run(First, 1).output == {"work": 1}
    used.append(database(flow_runner))

def test_2_the_same_again(flow_runner):
    assert database(flow_runner) == used[-1]
    run = flow_runner.run(First, 2)
    assert run.output == {"work": 2}
    assert [event[0] for event in run.events][:1] == ["run_started"]

def test_3_a_flow_of_that_name_may_be_another_one(flow_runner):
    class Else(Flow, slug="first"):
        @step
        def other():
            return 3

    assert database(flow_runner) == used[-1]
    assert flow_runner.run(Else).output == {"other": 3}

def test_4_whoever_looks_has_one_of_his_own(flow_runner, pgflow_conn):
    assert database(flow_runner) not in used
    assert tables_of_flows(pgflow_conn) == []
    pgflow_conn.execute("create table mine ()")
    used.append(database(flow_runner))

def test_5_nobody_gets_that(flow_runner):
    assert database(flow_runner) == used[0]

def test_6_a_runner_of_a_factory_takes_part(another_runner):
    assert database(another_runner) == used[0]
    another_runner.run(Third)

def test_7_a_handler_that_looks_sees_its_own_flow_and_run_alone(flow_runner):
    assert database(flow_runner) == used[0]
    flow_runner.run(First)
    assert flow_runner.run(Second).output == {"work": [["first", "second"], 2]}

def test_8_and_goes_to_nobody_after_that(flow_runner):
    assert database(flow_runner) not in used
    used.append(database(flow_runner))
    flow_runner.run(First)

def test_9_a_fixture_that_is_asked_for_later_sees_only_this_test(request, flow_runner):
    assert database(flow_runner) == used[-1]
    flow_runner.run(Third)
    assert tables_of_flows(request.getfixturevalue("pgflow_conn")) == ["third"]

def test_10_the_dsn_of_the_runner_is_a_look(flow_runner):
    assert database(flow_runner) not in used
    flow_runner.run(First)
    used.append(flow_runner.dsn)
    with psycopg.connect(flow_runner.dsn) as conn:
        conn.execute("select pgflow.delete_flow_and_data('first')")
    flow_runner.run(First)

def test_11_time_that_stands_still_stays_behind(flow_runner):
    assert database(flow_runner) not in used
    flow_runner.travel(by=60)
    used.append(database(flow_runner))

def test_12(flow_runner):
    assert database(flow_runner) not in used
""",
    )
    result.assert_outcomes(passed=12)


def test_a_failed_test_leaves_its_database_to_nobody(session):
    result = session(
        """
def test_1(flow_runner):
    used.append(database(flow_runner))
    assert flow_runner.run(First).output is None

def test_2(flow_runner):
    assert database(flow_runner) not in used
"""
    )
    result.assert_outcomes(failed=1, passed=1)


def test_what_somebody_changed_in_a_shared_database_is_compiled_again(session):
    result = session(
        """
def test_1(flow_runner):
    flow_runner.run(First)

def test_2(flow_runner, pgflow_conn):
    pgflow_conn.execute("select pgflow.delete_flow_and_data('first')")

def test_3(flow_runner):
    flow_runner.run(First)

module_dsn = factories.dsn(scope="module", isolation="delete")

def test_4_a_fixture_of_the_module_may_look_at_any_time(module_dsn, flow_runner):
    assert database(flow_runner) == module_dsn
    flow_runner.run(First)

def test_5(pgflow_conn):
    pgflow_conn.execute("select pgflow.delete_flow_and_data('first')")

def test_6(flow_runner):
    flow_runner.run(First)
""",
        "--pgflow-isolation=delete",
    )
    result.assert_outcomes(passed=6)


def test_a_fixture_that_overrides_the_database_is_the_runners_too(pytester, run_pytest):
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def pgflow_dsn(pgflow_dsn):
            return f"{pgflow_dsn} application_name=mine"

        def test_it(flow_runner):
            assert flow_runner.dsn.endswith("mine")
        """
    )
    run_pytest().assert_outcomes(passed=1)


@pytest.fixture
def databases(pgflow_server, _template):
    made = Databases(pgflow_server.dsn, session=session_name(), hasty=True)
    yield made
    made.close()


def test_what_a_wider_fixture_left_in_a_shared_database_goes_after_it(databases):
    shared = databases.lasting("delete")
    with psycopg.connect(shared.dsn, autocommit=True) as conn, shared.watched():
        shared.begin()
        conn.execute("select pgmq.create('its'), pgmq.send('its', '1')")
    shared.begin()
    with psycopg.connect(shared.dsn) as conn:
        assert conn.execute("select count(*) from pgmq.q_its").fetchone() == (0,)


@pytest.mark.parametrize("given", [{"setup": str}, {"migrations": Migrations(((Path("empty.sql"), "select"),))}])
def test_no_database_goes_on_that_has_something_of_others_in_it(pgflow_server, given):
    databases = Databases(pgflow_server.dsn, session=session_name(), hasty=True, **given)
    lent = databases.lend()
    databases.take_back(lent)
    assert databases.lend().dsn != lent.dsn
    databases.close()


def test_a_database_of_many_flows_is_not_handed_on(databases):
    class Numbered(Flow):
        @step
        def work(): ...

    lent = databases.lend()
    for number in range(MOST_FLOWS + 1):
        assert lent.may_go_on
        lent.compiled(replace(Numbered.definition, slug=f"numbered_{number}"))
    databases.take_back(lent)
    assert databases.lend().dsn != lent.dsn
