"""What a failing test shows, and what a passing one does not."""

from __future__ import annotations

import copy
import json
import pickle
import re

import psycopg
import pytest

from pgflow_mp import Flow, postgres, step

FLOWS = """
    from pgflow_mp import Flow, step
    import pytest

    class Order(Flow, max_attempts=1):
        @step
        def fetch(flow_input):
            return {"amount": flow_input}

        @step
        def charge(fetch):
            if fetch["amount"] > 99:
                raise ValueError("too much")
            return "paid"

        @step
        def ship(charge):
            return "shipped"
"""


@pytest.fixture
def failing(pytester, run_pytest):
    """Run an inner session over the flow above and these tests."""

    def failing(tests, *args, **options):
        pytester.makepyfile(test_it=f"{FLOWS}\n{tests}")
        return run_pytest(*args, **options)

    return failing


def test_a_failed_run_shows_its_steps_its_input_and_the_traceback_of_the_step(failing):
    result = failing(
        """
    def test_it(flow_runner):
        flow_runner.run(Order, 100)
    """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            '>*raise ValueError("too much")',
            "E*ValueError: too much",
            "The above exception was the direct cause of the following exception:",
            ">       flow_runner.run(Order, 100)",
            "E       *FlowFailed: flow `order` failed in step `charge` (attempt 1): ValueError: too much",
            "*- pgflow run of order (failed) -*",
            "input 100",
            "step * status * attempts * seconds * output or error",
            'fetch * completed * 1 * {"amount": 100}',
            "charge * failed * 1 * ValueError: too much",
            "ship * created",
            "error of step charge:",
            "*ValueError: too much",
            "*test_it.py*, in charge",
        ]
    )


def test_the_frames_of_the_runner_are_not_shown(failing):
    result = failing(
        """
    def test_it(flow_runner):
        flow_runner.run(Order, 100)
    """
    )
    assert not re.search(r"^\S*(pytest_pgflow|pgflow_mp)/\w+.*\.py:\d+", result.stdout.str(), re.MULTILINE)


def test_an_assertion_in_a_step_is_introspected(failing):
    result = failing(
        """
    def test_it(flow_runner):
        class Checked(Flow):
            @step
            def check():
                found = {"a": 1}
                assert found == {"a": 2}

        flow_runner.run(Checked)
    """
    )
    result.stdout.fnmatch_lines(['>*assert found == {"a": 2}', "E*{'a': 1} != {'a': 2}"])


def test_every_run_of_the_test_is_shown_whoever_started_it_and_however_it_ended(failing):
    result = failing(
        """
    def test_it(flow_runner, pgflow):
        flow_runner.run(Order, 1)
        flow_runner.run(Order, 100, check=False)
        pgflow.start_flow(Order, 2)
        assert not "as expected"
    """
    )
    result.stdout.fnmatch_lines(
        [
            "*- pgflow run of order (failed) -*",
            "*- pgflow run of order (started) -*",
            "*- pgflow run of order (completed) -*",
        ]
    )


def test_a_run_that_was_too_late_is_shown_as_far_as_it_came(failing):
    result = failing(
        """
    def test_it(flow_runner):
        class Endless(Flow, max_attempts=10_000):
            @step
            def again():
                raise ValueError("again")

        flow_runner.run(Endless, timeout=0.5)
    """
    )
    result.stdout.fnmatch_lines(
        [
            "E*RunTimeout: flow `endless` did not end within 0.5 s",
            "*- pgflow run of endless (started) -*",
            "again * started * ValueError: again",
        ]
    )


def test_passing_tests_show_nothing(failing):
    result = failing(
        """
    def test_it(flow_runner):
        flow_runner.run(Order, 1)
        flow_runner.run(Order, 100, check=False)
    """,
        "-rA",
    )
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*pgflow run of*")


def test_reports_survive_xdist(failing):
    result = failing(
        """
    @pytest.mark.parametrize("executor", ["inline", "process"])
    def test_it(flow_runner, executor):
        flow_runner.run(Order, 100, executor=executor, timeout=30)
    """,
        "-n",
        "2",
        apart=True,
    )
    result.assert_outcomes(failed=2)
    assert result.stdout.str().count("- pgflow run of order (failed) -") == 2


def test_a_test_that_shares_a_database_shows_its_own_runs_only(failing):
    result = failing(
        """
    def test_1(flow_runner):
        flow_runner.run(Order, 1)

    def test_2(flow_runner):
        flow_runner.run(Order, 100)
    """,
        "--pgflow-isolation=none",
    )
    result.assert_outcomes(passed=1, failed=1)
    assert result.stdout.str().count("pgflow run of order") == 1


def test_many_runs_are_cut_to_the_ones_that_matter(failing):
    result = failing(
        """
    def test_it(flow_runner):
        flow_runner.run_many(Order, [1] * 8 + [100])
    """
    )
    result.stdout.fnmatch_lines(["*- pgflow run of order (failed) -*", "... and 4 more runs"])


def test_a_database_that_is_gone_does_not_hide_the_failure(failing):
    result = failing(
        """
    def test_it(pgflow_dsn, _pgflow_databases):
        _pgflow_databases.drop(pgflow_dsn)
        assert not "the reason"
    """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert not 'the reason'", "The runs of this test cannot be shown: *"])


def test_the_database_of_a_failed_test_is_kept_on_request(failing, pgflow_server):
    result = failing(
        """
    def test_passes(pgflow_dsn): ...

    def test_fails(flow_runner):
        flow_runner.run(Order, 100)
    """,
        "--pgflow-keep",
    )
    result.assert_outcomes(passed=1, failed=1)
    (dsn,) = re.findall(r"^Kept: psql '(.*)'$", result.stdout.str(), re.MULTILINE)
    with psycopg.connect(dsn) as conn:
        assert conn.execute("select status from pgflow.runs").fetchall() == [("failed",)]
        name = conn.info.dbname
    with psycopg.connect(pgflow_server.dsn, autocommit=True) as conn:
        conn.execute(f'drop database "{name}"')


def test_a_server_of_our_own_goes_on_with_a_database_that_is_kept(failing):
    result = failing(
        """
    def test_fails(pgflow_conn, pgflow_server):
        print("data", pgflow_conn.execute("show data_directory").fetchone()[0])
        assert 0
    """,
        "--pgflow-keep",
        "--pgflow-server=embedded",
        dsn=None,
        apart=True,
    )
    (dsn,) = re.findall(r"^Kept: psql '(.*)'$", result.stdout.str(), re.MULTILINE)
    with psycopg.connect(dsn) as conn:
        assert conn.execute("select count(*) from pgflow.flows").fetchone() == (0,)
    # The next server that is started ends it.
    with postgres.start("embedded"):
        pass
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)


def test_the_header_says_what_was_asked_for_and_nothing_otherwise(pytester, monkeypatch):
    pytester.makepyfile("def test_it(): ...")
    pytester.runpytest_inprocess().stdout.no_fnmatch_line("pgflow:*")
    monkeypatch.setenv("PGFLOW_TEST_DSN", "host=x password=secret")
    result = pytester.runpytest_inprocess("--pgflow-executor=process")
    result.stdout.fnmatch_lines("pgflow: server given by DSN, executor process")


def test_a_wrong_output_is_told_step_by_step(failing):
    result = failing(
        """
    class Wide(Flow):
        @step
        def first(flow_input):
            return {"a": 1, "b": 2}

        @step
        def second():
            return 2

        @step
        def third(second):
            return 3

    def test_it(flow_runner):
        run = flow_runner.run(Wide)
        assert run.output == {"first": {"a": 1, "b": 3}, "second": 2, "thrid": 3}
    """
    )
    result.stdout.fnmatch_lines(
        [
            "E*step first: (- expected, + found)",
            'E*-   "b": 3',
            'E*+   "b": 2',
            "E*step third: not expected: 3",
            "E*step second: completed, but is no leaf: other steps depend on it",
            "E*step thrid: flow wide has no such step; its steps are first, second, third",
        ]
    )


def test_the_output_of_a_run_is_a_dict_like_any_other(flow_runner):
    class Plain(Flow):
        @step
        def only():
            return [1]

    output = flow_runner.run(Plain).output
    assert output == {"only": [1]}
    assert output == {"only": [1]}
    assert repr(output) == "{'only': [1]}"
    assert json.loads(json.dumps(output)) == output
    assert pickle.loads(pickle.dumps(output)) == output
    assert copy.deepcopy(output) == output


@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_timelines_are_printed_on_request_also_of_passing_tests(failing, workers):
    result = failing(
        """
    def test_passes(flow_runner):
        flow_runner.run(Order, 1)

    def test_fails(flow_runner):
        flow_runner.run(Order, 100)
    """,
        "--pgflow-timeline",
        *workers,
        apart=bool(workers),
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- pgflow timeline of order (failed) -*",
            "fetch * completed *#*",
            "charge * failed * #*",
            "*test_passes: pgflow timeline of order (completed)*",
            "ship * completed * #*",
        ]
    )


def test_a_timeline_tells_what_ran_when(flow_runner):
    class Two(Flow):
        @step
        def first():
            return 1

        @step
        def second(first, ctx):
            if ctx.attempt == 1:
                raise ValueError("once")

    first, second = flow_runner.run(Two).timeline
    assert (first.step, first.attempt, first.status) == ("first", 1, "completed")
    assert (second.step, second.attempt, second.status) == ("second", 2, "completed")
    assert 0 <= first.start <= first.end <= second.start <= second.end
