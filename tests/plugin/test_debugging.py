"""Steps that run inline are debugged and measured like the test itself."""

import json
import sys

import pytest

FLOW = """
    from pgflow_mp import Flow, step

    class Order(Flow, max_attempts=1, timeout=1):
        @step
        def price(flow_input):
            doubled = 2 * flow_input
            STOP
            return doubled

        @step
        def charge(price):
            cents = price * 100
            if cents > 99_00:
                raise ValueError("too much")
            return cents
"""


@pytest.fixture
def talk(pytester, pgflow_server, _template):
    """Run an inner session in a process of its own, with these commands for its debugger."""

    def talk(tests, commands, *options, stop=""):
        pytester.makepyfile(test_it=FLOW.replace("STOP", stop) + tests)
        options = ("--pgflow-dsn", pgflow_server.dsn, *options)
        typed = "".join(f"{command}\n" for command in commands)
        return pytester.run(sys.executable, "-m", "pytest", *options, stdin=typed.encode(), timeout=60)

    return talk


@pytest.mark.slow
def test_breakpoints_stop_in_a_step_and_pdb_opens_the_one_that_raised(talk):
    # For longer than the run, and the step, may take.
    looked = ["p f'price {doubled}'", "import time; time.sleep(1.2)"]
    result = talk(
        """
    def test_stops(flow_runner):
        assert flow_runner.run(Order, 21, timeout=0.5).output == {"charge": 4200}

    def test_raises(flow_runner):
        flow_runner.run(Order, 50)
    """,
        # For longer than the run may take, and the step.
        [
            *looked,
            "c",
            "p f'again {doubled}'",
            "c",
            "p f'cents {cents}'",
            "q",
        ],
        "--pdb",
        stop="breakpoint()",
    )
    result.stdout.fnmatch_lines(
        [
            "*'price 42'",
            "*'again 100'",
            "E*ValueError: too much",
            "E*FlowFailed: flow `order` failed in step `charge` (attempt 1): ValueError: too much",
            "*entering PDB*",
            "*test_it.py(14)charge()",
            "*'cents 10000'",
        ]
    )
    result.assert_outcomes(passed=1, failed=1)


@pytest.mark.slow
def test_trace_leads_from_the_test_into_a_step(talk):
    result = talk(
        """
    def test_it(flow_runner):
        flow_runner.run(Order, 1)
    """,
        ["b test_it.py:8", "c", "p f'price {doubled}'", "c"],
        "--trace",
        stop="pass",
    )
    result.stdout.fnmatch_lines(["*test_it.py(*)test_it()", "*test_it.py(8)price()", "*'price 2'"])
    result.assert_outcomes(passed=1)


@pytest.mark.slow
@pytest.mark.usefixtures("_template")
@pytest.mark.parametrize(
    ("executor", "patch"), [("inline", ""), ("process", "parallel = true\npatch = subprocess, _exit")]
)
def test_coverage_counts_the_lines_of_steps(pytester, pgflow_server, executor, patch):
    pytester.makepyfile(
        test_it=FLOW.replace("STOP", "pass")
        + """
    def test_it(flow_runner):
        flow_runner.run(Order, 1, timeout=40)
    """
    )
    pytester.makefile(".ini", coverage=f"[run]\nsource = .\n{patch}\n")
    coverage = (sys.executable, "-m", "coverage")
    options = ("--pgflow-dsn", pgflow_server.dsn, f"--pgflow-executor={executor}")
    done = pytester.run(*coverage, "run", "--rcfile=coverage.ini", "-m", "pytest", *options, timeout=60)
    done.assert_outcomes(passed=1)
    if patch:
        pytester.run(*coverage, "combine", "--rcfile=coverage.ini")
    pytester.run(*coverage, "json", "-o", "found.json")
    found = json.loads(pytester.path.joinpath("found.json").read_text())
    assert found["files"]["test_it.py"]["missing_lines"] == [14], "the line that raises did not run"
