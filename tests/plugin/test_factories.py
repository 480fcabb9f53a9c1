"""Fixtures of the user's own making."""

from __future__ import annotations

import pytest


@pytest.mark.slow
def test_a_module_may_share_one_database_and_have_a_second_one(pytester, run_pytest):
    pytester.makeconftest(
        """
        from pytest_pgflow import factories

        shop_dsn = factories.dsn(scope="module")
        shop_conn = factories.conn("shop_dsn", scope="module")
        shop = factories.client("shop_dsn", scope="module")
        shop_runner = factories.flow_runner("shop_dsn", scope="module", executor="process", timeout=30)
        """
    )
    tests = """
        import os
        import pytest
        from pgflow_mp import Flow, step

        class Where(Flow):
            @step
            def where():
                return os.getpid()

        def test_1(shop_runner, shop):
            run = shop_runner.run(Where)
            assert run.output["where"] != os.getpid()
            assert shop.get_run(run.run_id).completed

        def test_2(shop_conn, pgflow_conn, flow_runner):
            assert shop_conn.execute("select count(*) from pgflow.runs").fetchone() == (1,)
            assert flow_runner.run(Where).output == {"where": os.getpid()}
            assert pgflow_conn.execute("select count(*) from pgflow.runs").fetchone() == (1,)
        """
    pytester.makepyfile(test_one=tests, test_two=tests)
    run_pytest(apart=True).assert_outcomes(passed=4)


def test_a_wider_database_shows_its_runs_in_the_report_too(pytester, run_pytest):
    pytester.makepyfile(
        """
        from pgflow_mp import Flow, step
        from pytest_pgflow import factories

        shared_dsn = factories.dsn(scope="module")
        shared_runner = factories.flow_runner("shared_dsn")

        class Broken(Flow, max_attempts=1):
            @step
            def broken():
                raise ValueError("no")

        def test_it(shared_runner):
            shared_runner.run(Broken)
        """
    )
    result = run_pytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines("*- pgflow run of broken (failed) -*")
