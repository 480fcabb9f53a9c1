"""assert_shape: a change that production would refuse fails the build."""

from __future__ import annotations

import pytest

FLOW = """
    from pgflow_mp import Flow, step

    class Order(Flow, timeout={timeout}):
        @step
        def first():
            return 1

        @step({option})
        def {second}(first):
            return 2

    def test_it(assert_shape):
        assert_shape(Order)
"""


@pytest.fixture
def check(pytester, run_pytest):
    def check(*args, timeout=60, option="", second="second"):
        pytester.makepyfile(test_it=FLOW.format(timeout=timeout, option=option, second=second))
        return run_pytest(*args)

    return check


def test_without_a_snapshot_the_test_says_how_to_make_one(check):
    result = check()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        "there is no snapshot of flow `order` yet: make it with `pytest --pgflow-update-shapes`"
        " and commit flow_shapes/order.json"
    )


def test_a_flow_like_its_snapshot_passes(check, pytester):
    check("--pgflow-update-shapes").assert_outcomes(passed=1)
    assert (pytester.path / "flow_shapes" / "order.json").exists()
    check().assert_outcomes(passed=1)


def test_options_may_change_because_a_database_takes_them(check):
    check("--pgflow-update-shapes").assert_outcomes(passed=1)
    check(timeout=90, option="max_attempts=9").assert_outcomes(passed=1)


@pytest.mark.parametrize("change", [{"second": "renamed"}, {"option": "when={'first': 1}"}])
def test_a_change_that_production_refuses_fails_with_the_differences(check, change):
    check("--pgflow-update-shapes").assert_outcomes(passed=1)
    result = check(**change)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["flow `order` is not what flow_shapes/order.json has,*", "  - *"])
