"""What a failing test shows, and what a passing one does not."""

from __future__ import annotations

import copy
import json
import pickle
import re
import subprocess
import sys
import textwrap

import psycopg
import pytest

from pgflow_mp import Flow, postgres, step

FLOWS = """
    from pgflow_mp import Flow, map_step, step
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


TESTS = """
    class Checked(Flow):
        @step
        def check():
            found = {"a": 1}
            assert found == {"a": 2}

    class Endless(Flow, max_attempts=10_000):
        @step
        def again():
            raise ValueError("again")

    class Payroll(Flow, max_attempts=1):
        @map_step
        def pay(item):
            return item["cents"] + 1

        @step
        def sum(pay):
            return pay

    class Odd(Flow, max_attempts=1):
        @step
        def look():
            return object()

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

    def test_passes(flow_runner):
        flow_runner.run(Order, 1)
        flow_runner.run(Order, 100, check=False)

    def test_fails(flow_runner):
        flow_runner.run(Order, 100)

    def test_fails_in_a_map(flow_runner):
        flow_runner.run(Payroll, [{"cents": 1}, {"cents": "none"}, {"cents": 2}])

    def test_asserts_in_a_step(flow_runner):
        flow_runner.run(Checked)

    def test_asserts_in_a_process(flow_runner):
        flow_runner.run(Checked, executor="process", timeout=30)

    def test_makes_three_runs(flow_runner, pgflow):
        flow_runner.run(Order, 1)
        flow_runner.run(Order, 100, check=False)
        pgflow.start_flow(Order, 2)
        assert not "as expected"

    def test_is_too_late(flow_runner):
        flow_runner.run(Endless, timeout=0.5)

    def test_makes_many_runs(flow_runner):
        flow_runner.run_many(Order, [1] * 8 + [100])

    def test_loses_its_database(pgflow_dsn, _pgflow_databases):
        _pgflow_databases.drop(pgflow_dsn)
        assert not "the reason"

    def test_expects_another_output(flow_runner):
        run = flow_runner.run(Wide)
        assert run.output == {"first": {"a": 1, "b": 3}, "second": 2, "thrid": 3}

    def test_replaces_no_step(flow_runner):
        flow_runner.run(Order, 1, replace={"nothing": 1})

    def test_gives_no_json(flow_runner):
        flow_runner.run(Order, object())

    def test_asks_for_no_step(flow_runner):
        flow_runner.step(Order, "chrge")

    def test_gives_a_step_no_json(flow_runner):
        flow_runner.step(Order, "ship", charge=object())

    def test_gives_a_step_nothing(flow_runner):
        flow_runner.step(Order, "ship")

    def test_gets_no_json(flow_runner):
        flow_runner.step(Odd, "look")

    def test_gets_no_json_from_a_run(flow_runner):
        flow_runner.run(Odd)

    def test_has_a_double_that_does_not_fit(flow_runner):
        flow_runner.run(Order, 1, replace={"ship": lambda fetch: 1})

    def test_advances_to_no_step(flow_runner):
        flow_runner.start(Order, 1).advance(until="shp")

    def test_has_a_typo_in_an_option(flow_runner):
        flow_runner.run(Order, 1, executor="inlin")

    def test_is_told_by_a_handler(flow_runner):
        flow_runner.step(Order, "charge", fetch={"amount": 100})
"""


@pytest.fixture(scope="module")
def told(pgflow_server, _template, tmp_path_factory):
    """What a session over the tests above prints, by test: one session, because starting one is what takes long."""
    folder = tmp_path_factory.mktemp("told")
    (folder / "test_it.py").write_text(textwrap.dedent(FLOWS) + textwrap.dedent(TESTS))
    plugins = ("no:cacheprovider", "no:asyncio", "no:hypothesispytest")
    options = [word for plugin in plugins for word in ("-p", plugin)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", *options, "--pgflow-dsn", pgflow_server.dsn],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "20 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    parts = re.split(r"^_+ (test_\w+) _+$", done.stdout.partition("= short test summary")[0], flags=re.MULTILINE)
    return {name: pytest.LineMatcher(text.splitlines()) for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_a_failed_run_shows_its_steps_its_input_and_the_traceback_of_the_step(told):
    told["test_fails"].fnmatch_lines(
        [
            '>*raise ValueError("too much")',
            "E*ValueError: too much",
            "The above exception was the direct cause of the following exception:",
            ">       flow_runner.run(Order, 100)",
            "E       pytest_pgflow.FlowFailed: flow `order` failed in step `charge` (attempt 1): ValueError: too much",
            "E* step * status * attempts * seconds * output or error",
            'E* fetch * completed * 1 * {"amount": 100}',
            "E* charge * failed * 1 * ValueError: too much",
            "E* ship * created",
            "*- pgflow run of order (failed) -*",
            "input 100",
            "error of step charge:",
            "*ValueError: too much",
            "*test_it.py*, in charge",
            'input of step charge: {"fetch": {"amount": 100}}',
        ]
    )


def test_of_a_map_step_the_element_that_failed_is_shown(told):
    told["test_fails_in_a_map"].fnmatch_lines(["error of step pay:", 'input of step pay: {"cents": "none"}'])
    told["test_fails_in_a_map"].no_fnmatch_line("input of step sum*")


def test_the_steps_are_shown_once_where_the_failure_has_shown_them(told):
    assert told["test_fails"].str().count("output or error") == 1


def test_a_failure_of_the_test_itself_is_followed_by_the_steps_and_errors_of_its_runs(told):
    told["test_makes_three_runs"].fnmatch_lines(
        [
            "E*assert not 'as expected'",
            "*- pgflow run of order (failed) -*",
            "input 100",
            "step * status * attempts * seconds * output or error",
            "charge * failed * 1 * ValueError: too much",
            "error of step charge:",
            "*test_it.py*, in charge",
        ]
    )


OF_THE_RUNNER = re.compile(r"^\S*(pytest_pgflow|pgflow_mp)/\w+.*\.py:\d+")


def test_the_frames_of_the_runner_are_not_shown(told):
    told["test_fails"].fnmatch_lines([">*flow_runner.run(Order, *", "E  *"])
    told["test_fails"].no_re_match_line(OF_THE_RUNNER.pattern)


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("replaces_no_step", "StepNotFound: flow `order` has no step 'nothing'; its steps are fetch, charge, ship"),
        ("gives_no_json", "InvalidInput: the value is <object *> of type object, which is no JSON; convert it *"),
        ("asks_for_no_step", "StepNotFound: flow `order` has no step 'chrge' (did you mean `charge`?)*"),
        ("gives_a_step_no_json", "InvalidInput: charge=... for step `ship`: the value is <object *, which is no JSON*"),
        ("gives_a_step_nothing", "InvalidInput: step `ship` needs the output of `charge`: give it as charge=..."),
        ("gets_no_json", "OutputError: what step `look` returned: the value is <object *, which is no JSON*"),
        (
            "gets_no_json_from_a_run",
            "FlowFailed: flow `odd` failed in step `look` (attempt 1): OutputError: the*",
        ),
        (
            "has_a_double_that_does_not_fit",
            "DefinitionError: *step `ship`: its handler has the parameter `fetch`*",
        ),
        ("advances_to_no_step", "StepNotFound: flow `order` has no step 'shp' (did you mean `ship`?)*"),
        ("has_a_typo_in_an_option", "ValueError: executor='inlin': executor is one of * (did you mean `inline`?)"),
    ],
)
def test_a_mistake_in_a_call_is_shown_at_the_call_and_nowhere_else(told, test, said):
    shown = told[f"test_{test}"]
    shown.fnmatch_lines([">*flow_runner.*", f"E*{said.replace('[', '[[]')}"])
    assert len(re.findall(r"^(\S+\.py):\d+: \w", shown.str(), re.MULTILINE)) == 1
    shown.no_re_match_line(OF_THE_RUNNER.pattern)


def test_what_a_handler_raises_is_shown_there_also_where_it_runs_alone(told):
    told["test_is_told_by_a_handler"].fnmatch_lines(
        ['>*flow_runner.step(Order, "charge", *', '>*raise ValueError("too much")', "E*ValueError: too much"]
    )
    told["test_is_told_by_a_handler"].no_re_match_line(OF_THE_RUNNER.pattern)


def test_an_assertion_in_a_step_is_introspected(told):
    told["test_asserts_in_a_step"].fnmatch_lines(['>*assert found == {"a": 2}', "E*{'a': 1} != {'a': 2}"])


def test_an_assertion_in_a_child_process_is_introspected_too(told):
    told["test_asserts_in_a_process"].fnmatch_lines(
        ["E*FlowFailed: *: AssertionError: assert {'a': 1} == {'a': 2}", "E*{'a': 1} != {'a': 2}"]
    )


def test_every_run_of_the_test_is_shown_whoever_started_it_and_however_it_ended(told):
    told["test_makes_three_runs"].fnmatch_lines(
        [
            "*- pgflow run of order (failed) -*",
            "*- pgflow run of order (started) -*",
            "*- pgflow run of order (completed) -*",
        ]
    )


def test_a_run_that_was_too_late_is_shown_as_far_as_it_came(told):
    told["test_is_too_late"].fnmatch_lines(
        [
            "E*RunTimeout: flow `endless` did not end within 0.5 s",
            "E* again * started * ValueError: again",
            "*- pgflow run of endless (started) -*",
            "error of step again:",
        ]
    )


def test_passing_tests_show_nothing(told):
    assert "test_passes" not in told or not told["test_passes"].str().strip("\n=")


def test_many_runs_are_cut_to_the_ones_that_matter(told):
    told["test_makes_many_runs"].fnmatch_lines(["*- pgflow run of order (failed) -*", "... and 4 more runs"])


def test_a_database_that_is_gone_does_not_hide_the_failure(told):
    told["test_loses_its_database"].fnmatch_lines(
        ["*assert not 'the reason'", "The runs of this test cannot be shown: *"]
    )


def test_a_wrong_output_is_told_step_by_step(told):
    told["test_expects_another_output"].fnmatch_lines(
        [
            "E*step first: (- expected, + found)",
            'E*-   "b": 3',
            'E*+   "b": 2',
            "E*step third: not expected: 3",
            "E*step second: completed, but is no leaf: other steps depend on it",
            "E*step thrid: flow wide has no such step; its steps are first, second, third",
        ]
    )


@pytest.fixture
def failing(pytester, run_pytest):
    """Run an inner session over the flow above and these tests."""

    def failing(tests, *args, **options):
        pytester.makepyfile(test_it=f"{FLOWS}\n{tests}")
        return run_pytest(*args, **options)

    return failing


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_reports_and_timelines_survive_xdist_and_timelines_are_shown_of_passing_tests_too(failing):
    result = failing(
        """
    def test_passes(flow_runner):
        flow_runner.run(Order, 1)

    @pytest.mark.parametrize("executor", ["inline", "process"])
    def test_fails(flow_runner, executor):
        flow_runner.run(Order, 100, executor=executor, timeout=30)
    """,
        "--pgflow-timeline",
        "-n",
        "2",
        apart=True,
    )
    result.assert_outcomes(passed=1, failed=2)
    assert result.stdout.str().count("- pgflow run of order (failed) -") == 2
    result.stdout.fnmatch_lines(
        [
            "*- pgflow timeline of order (failed) -*",
            "fetch * completed *#*",
            "charge * failed * #*",
            "*test_passes: pgflow timeline of order (completed)*",
            "ship * completed * #*",
        ]
    )
