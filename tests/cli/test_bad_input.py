"""What bad input gets: one clear sentence, an exit code that is not 0, and a database as it was before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.cli.command import GREET, environment, is_one_sentence, pgflow_mp

SHOUT = """
from pgflow_mp import Flow, map_step, step


class Shout(Flow):
    @map_step
    def shout(item):
        return item.upper()
"""

BAD_HANDLERS = """
from pgflow_mp import Flow, map_step, step


class ReturnsASet(Flow, max_attempts=1):
    @step
    def letters(flow_input):
        return {"rows": [1, {"x"}]}


class MapsOverNothing(Flow, max_attempts=1):
    @step
    def number(flow_input):
        return 7

    @map_step(over=number)
    def each(item):
        return item
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "flows.py").write_text(GREET)
    (tmp_path / "shout.py").write_text(SHOUT)
    (tmp_path / "bad.py").write_text(BAD_HANDLERS)
    return tmp_path


def contents(dsn: str) -> list[tuple[int, ...]]:
    """How many flows, runs and queues there are."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        return conn.execute(
            "select (select count(*) from pgflow.flows), (select count(*) from pgflow.runs), "
            "(select count(*) from pgmq.list_queues())"
        ).fetchall()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["flows.py", '{"a": }'], "line 1 column 7"),
        (["flows.py", "@missing.json"], "cannot read the input @missing.json: No such file"),
        (["flows.py:Great"], "has no flow Great (did you mean `Greet`?)"),
        (["flow.py"], "there is no file flow.py"),
        (["no.such.module"], "there is no module `no`"),
    ],
)
def test_what_is_wrong_on_the_command_line_touches_nothing(folder, call, pgflow_dsn, arguments, said):
    done = call("run", *arguments, "--dsn", pgflow_dsn, cwd=folder)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert is_one_sentence(done.stderr)
    assert said in done.stderr
    assert contents(pgflow_dsn) == [(0, 0, 0)]


def test_a_root_map_without_an_array_is_refused_and_nothing_is_compiled(folder, call, pgflow_dsn):
    done = call("run", "shout.py", '{"not": "an array"}', "--dsn", pgflow_dsn, cwd=folder)
    assert done.returncode == 2, done
    assert is_one_sentence(done.stderr)
    assert "array" in done.stderr
    assert contents(pgflow_dsn) == [(0, 0, 0)]


def test_a_flow_whose_shape_differs_is_refused_with_the_differences(folder, call, pgflow_dsn):
    assert call("compile", "flows.py", "--dsn", pgflow_dsn, cwd=folder).returncode == 0
    (folder / "changed.py").write_text(GREET.replace("def greeting", "def welcome"))
    done = call("run", "changed.py", "--dsn", pgflow_dsn)
    assert done.returncode == 1, done
    assert is_one_sentence(done.stderr)
    assert "welcome" in done.stderr
    assert contents(pgflow_dsn) == [(1, 0, 1)]


def test_an_unreachable_database_is_said_once_without_the_password(folder, call):
    dsn = "postgresql://someone:sesame@127.0.0.1:1/nowhere"
    for command in (["run", "flows.py"], ["compile", "flows.py"], ["serve", "flows.py"], ["install"]):
        done = call(*command, "--dsn", dsn, cwd=folder)
        assert done.returncode == 3, done
        assert is_one_sentence(done.stderr)
        assert "nowhere" in done.stderr
        assert "sesame" not in done.stderr


@pytest.mark.parametrize("dsn", ["no dsn at all", "host=x connect_timeout=soon", "postgresql://a:p@ss@host/db"])
def test_a_dsn_that_is_none_is_bad_input(folder, call, dsn):
    for command in (["run", "flows.py"], ["compile", "flows.py"], ["serve", "flows.py"], ["install"]):
        done = call(*command, "--dsn", dsn, cwd=folder)
        assert done.returncode == 2, done
        assert is_one_sentence(done.stderr)
        assert "the DSN is not valid" in done.stderr


def test_an_empty_dsn_never_means_another_database(folder, call, monkeypatch):
    for command in (["run", "flows.py"], ["compile", "flows.py"], ["serve", "flows.py"], ["install"]):
        monkeypatch.setenv("PGFLOW_DSN", "")
        done = call(*command, cwd=folder)
        assert (done.returncode, done.stderr) == (
            2, "pgflow-mp: PGFLOW_DSN is empty: name a database, or leave it out\n"
        )  # fmt: skip
        monkeypatch.setenv("PGFLOW_DSN", "host=production")
        done = call(*command, "--dsn", " ", cwd=folder)
        assert (done.returncode, done.stderr) == (2, "pgflow-mp: --dsn is empty: name a database, or leave it out\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full (full(4))")
@pytest.mark.parametrize("command", [["run", "flows.py"], ["compile", "flows.py"], ["install"]])
def test_output_that_cannot_be_written_is_said(folder, pgflow_dsn, command):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "pgflow_mp", *command, "--dsn", pgflow_dsn],
            cwd=folder, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1, done
    assert done.stderr.splitlines()[-1] == "pgflow-mp: the output cannot be written: No space left on device"
    assert "Exception ignored" not in done.stderr


def test_a_database_without_pgflow_names_the_command_that_installs(folder, call, empty_dsn):
    done = call("run", "flows.py", "--dsn", empty_dsn, cwd=folder)
    assert done.returncode == 3, done
    assert is_one_sentence(done.stderr)
    assert "pgflow-mp install" in done.stderr


def test_a_schema_of_somebody_else_is_told_from_a_missing_one(folder, call, empty_dsn):
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute("create schema pgflow; create table pgflow.flows (flow_slug text)")
    for command in (["run", "flows.py"], ["compile", "flows.py"], ["serve", "flows.py"], ["install"]):
        done = call(*command, "--dsn", empty_dsn, cwd=folder)
        assert done.returncode == 3, done
        assert is_one_sentence(done.stderr)
        assert "has a schema pgflow that pgflow-mp did not make" in done.stderr


def test_functions_of_another_version_are_told_from_missing_ones(folder, call, pgflow_dsn):
    with psycopg.connect(pgflow_dsn, autocommit=True) as conn:
        conn.execute("drop function pgflow_mp.compile_flow")
    done = call("compile", "flows.py", "--dsn", pgflow_dsn, cwd=folder)
    assert done.returncode == 3, done
    assert is_one_sentence(done.stderr)
    assert "bring it up to date with `pgflow-mp install" in done.stderr


def test_a_slug_that_the_database_has_in_another_case_is_refused(folder, call, pgflow_dsn):
    assert call("compile", "flows.py", "--dsn", pgflow_dsn, cwd=folder).returncode == 0
    (folder / "other.py").write_text(GREET.replace("(Flow", '(Flow, slug="GREET"'))
    for command in (["run", "other.py"], ["compile", "other.py"]):
        done = call(*command, "--dsn", pgflow_dsn)
        assert done.returncode == 1, done
        assert is_one_sentence(done.stderr)
        assert "compiling flow `GREET` is not possible" in done.stderr
        assert "differs by case only" in done.stderr
    assert contents(pgflow_dsn) == [(1, 0, 1)]


def test_a_queue_of_somebody_else_is_not_taken(folder, call, pgflow_dsn):
    with psycopg.connect(pgflow_dsn, autocommit=True) as conn:
        conn.execute("select pgmq.create('greet')")
    done = call("compile", "flows.py", "--dsn", pgflow_dsn, cwd=folder)
    assert done.returncode == 1, done
    assert is_one_sentence(done.stderr)
    assert "is already in use by another owner" in done.stderr


def test_a_handler_that_returns_a_set_fails_its_run_with_the_path(folder, pgflow_dsn):
    done = pgflow_mp("run", "bad.py:ReturnsASet", "--dsn", pgflow_dsn, cwd=folder)
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert "failed in step letters" in done.stderr
    assert "`$.rows[1]`" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_map_over_what_is_no_array_fails_its_run_and_says_so(folder, pgflow_dsn):
    done = pgflow_mp("run", "bad.py:MapsOverNothing", "--dsn", pgflow_dsn, cwd=folder)
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert "array" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "flows.py", "{}", "{}"],
        ["run", "flows.py", "--nonsense"],
        [], ["fly"], ["run"], ["run", "flows.py", "--processes", "0"], ["run", "flows.py", "--timeout", "soon"],
        ["serve", "flows.py", "--poll-interval", "0"], ["compile"],
    ],
)  # fmt: skip
def test_usage_errors_have_code_2_and_show_the_usage(folder, call, arguments):
    done = call(*arguments, cwd=folder)
    assert done.returncode == 2
    assert "usage: pgflow-mp" in done.stderr


def test_the_python_stack_of_an_error_is_shown_on_demand(folder, call, monkeypatch):
    asked = call("run", "missing.py", "--traceback", cwd=folder)
    assert "Traceback" in asked.stderr
    assert asked.returncode == 2
    monkeypatch.setenv("PGFLOW_DEBUG", "1")
    assert "Traceback" in call("run", "missing.py").stderr


@pytest.mark.parametrize("command", [[], ["run"], ["compile"], ["serve"], ["install"]])
def test_help_is_for_every_command(call, command):
    done = call(*command, "--help")
    assert done.returncode == 0
    assert "usage: pgflow-mp" in done.stdout
