"""The examples do what they say, on real Postgres and in real processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.cli.command import environment, pgflow_mp
from tests.docs.documents import ROOT

STDLIB = Path(sysconfig.get_path("stdlib"))


def run_example(*arguments: str, dsn: str) -> dict:
    done = pgflow_mp("run", *arguments, "--dsn", dsn, cwd=ROOT, deadline=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_report_measures_the_library_that_runs_it(pgflow_dsn):
    report = run_example("examples/stdlib_report.py", '{"limit": 40}', dsn=pgflow_dsn)["report"]
    assert report["totals"]["modules"] == 40
    for function in report["longest_functions"]:
        text = (STDLIB / function["module"]).read_text().splitlines()
        assert f"def {function['function'].rpartition('.')[2]}" in text[function["line"] - 1]
    lengths = [function["lines"] for function in report["longest_functions"]]
    assert lengths == sorted(lengths, reverse=True)
    assert report["totals"]["lines"] > sum(lengths)


@pytest.mark.slow
def test_the_report_over_the_whole_library_is_hundreds_of_tasks(pgflow_dsn):
    totals = run_example("examples/stdlib_report.py", dsn=pgflow_dsn)["report"]["totals"]
    assert totals["modules"] > 400
    assert totals["lines"] > 200_000
    assert totals["functions"] > 10_000


def test_a_wrong_limit_fails_the_first_step(pgflow_dsn):
    done = pgflow_mp("run", "examples/stdlib_report.py", '{"limit": -1}', "--dsn", pgflow_dsn, cwd=ROOT)
    assert done.returncode == 1
    assert 'failed in step list_modules: NonRetryable: "limit" must be' in done.stderr


def test_an_order_is_processed(pgflow_dsn):
    output = run_example("examples/orders/flows.py", "@examples/orders/order.json", dsn=pgflow_dsn)["fulfil"]
    assert output["invoice"] == "invoice over 47.90 EUR"
    assert [parcel["sku"] for parcel in output["parcels"]] == ["teapot", "cup"]


def test_the_tests_of_the_example_pass_where_nothing_of_this_repository_is(server_dsn, tmp_path):
    shutil.copytree(ROOT / "examples/orders", tmp_path / "orders", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio"],
        cwd=tmp_path / "orders",
        env=environment({"PGFLOW_TEST_DSN": server_dsn}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
