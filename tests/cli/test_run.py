from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import psycopg
import pytest

from tests.cli.command import GREET, begin, pgflow_mp

FLOWS = """
import os
import time

from pgflow_mp import Flow, map_step, step


class Fails(Flow, max_attempts=1):
    @step
    def numbers(flow_input):
        return [1, 2, 0, 4]

    @map_step(over=numbers)
    def divide(item):
        return 1 / item


class Prints(Flow, max_attempts=1):
    @step
    def shout(flow_input):
        print("HELLO FROM A CHILD")
        os.system("echo HELLO FROM A GRANDCHILD")
        return "äöü ✓"


class Flaky(Flow, max_attempts=3, base_delay=0):
    @step
    def once(flow_input, ctx):
        if ctx.attempt == 1:
            raise RuntimeError("not yet")
        return ctx.attempt


class Endless(Flow, timeout=600):
    @step
    def numbers(flow_input):
        return list(range(6))

    @map_step(over=numbers)
    def sleep(item):
        time.sleep(300)


print("HELLO FROM THE MODULE")
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "greet.py").write_text(GREET)
    (tmp_path / "flows.py").write_text(FLOWS)
    return tmp_path


@pytest.fixture
def run(folder, pgflow_dsn):
    def run(*arguments: str, **more):
        return pgflow_mp("run", *arguments, "--dsn", pgflow_dsn, cwd=folder, **more)

    return run


FORGIVING = """
from pgflow_mp import Flow, step


class Forgiving(Flow, max_attempts=1):
    @step(when_exhausted="skip")
    def broken(flow_input):
        raise ValueError("no such luck")

    @step(when={"never": True}, when_unmet="fail")
    def unmet(flow_input):
        return 1
"""


@pytest.mark.slow
def test_progress_says_why_a_step_was_skipped_and_never_that_an_unmet_one_started(tmp_path, pgflow_dsn):
    (tmp_path / "forgiving.py").write_text(FORGIVING.replace('"fail"', '"skip"'))
    done = pgflow_mp("run", "forgiving.py", "--dsn", pgflow_dsn, cwd=tmp_path)
    assert "broken: skipped: its handler failed: ValueError: no such luck\n" in done.stderr
    assert "unmet: skipped: its condition was not met\n" in done.stderr
    (tmp_path / "strict.py").write_text(FORGIVING.replace("Forgiving", "Strict"))
    done = pgflow_mp("run", "strict.py", "--dsn", pgflow_dsn, cwd=tmp_path)
    assert done.returncode == 1
    assert "unmet: failed: " in done.stderr
    assert "unmet: started" not in done.stderr


def test_a_run_prints_its_output_as_json_and_nothing_else_on_stdout(run):
    done = run("greet.py")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"greeting": ["hello Ada", "hello Grace"]}


def test_progress_is_plain_lines_where_there_is_no_terminal(run):
    lines = run("greet.py").stderr.splitlines()
    assert lines[0].startswith("greet, run ")
    assert any(line.startswith("names: completed in ") for line in lines)
    assert any(line.startswith("greeting: completed 2 tasks in ") for line in lines)
    assert lines[-1].startswith("completed in ")
    assert lines[-1].endswith("3 tasks done")
    assert "\x1b" not in "".join(lines)


def test_input_comes_from_stdin_as_well(run):
    done = run("greet.py", "--processes", "1", "-", stdin='{"names": ["Barbara"]}')
    assert json.loads(done.stdout) == {"greeting": ["hello Barbara"]}, done.stderr


def test_a_module_runs_as_well_as_a_file(run):
    assert json.loads(run("greet:Greet", '{"names": []}').stdout) == {"greeting": []}


def test_what_handlers_print_goes_to_stderr(run):
    done = run("flows.py:Prints")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"shout": "äöü ✓"}
    for who in ("A CHILD", "A GRANDCHILD", "THE MODULE"):
        assert f"HELLO FROM {who}" in done.stderr


def test_the_output_is_utf_8_whatever_the_locale(run):
    done = run("flows.py:Prints", env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"shout": "äöü ✓"}


def test_a_failed_run_names_the_step_the_element_and_the_line(run):
    done = run("flows.py:Fails")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "failed in step divide[2]: ZeroDivisionError: division by zero" in done.stderr
    assert "flows.py" in done.stderr.rpartition("ZeroDivisionError")[2]


def test_a_task_that_is_tried_again_is_told(run):
    done = run("flows.py:Flaky")
    assert json.loads(done.stdout) == {"once": 2}, done.stderr
    assert "after 2 attempts" in done.stderr


def test_only_the_tasks_of_this_run_are_taken(run, pgflow_dsn):
    assert run("greet.py").returncode == 0
    with psycopg.connect(pgflow_dsn, autocommit=True) as conn:
        conn.execute("select pgflow.start_flow('greet', '{}')")
    assert run("greet.py").returncode == 0
    with psycopg.connect(pgflow_dsn, autocommit=True) as conn:
        statuses = conn.execute("select status from pgflow.runs order by started_at").fetchall()
        claimed = conn.execute("select count(*) from pgflow.step_tasks where attempts_count > 0").fetchone()
    assert statuses == [("completed",), ("started",), ("completed",)]
    assert claimed == (6,)


@pytest.mark.slow
def test_the_time_limit_ends_the_work_and_leaves_nothing_claimed(run, pgflow_dsn):
    done = run("flows.py:Endless", "--timeout", "2", "--processes", "2")
    assert done.returncode == 124
    assert "not done within 2.0 s" in done.stderr
    assert claimed_tasks(pgflow_dsn) == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.slow
def test_an_interrupted_run_leaves_nothing_claimed(folder, pgflow_dsn, number, code):
    process = begin("run", "flows.py:Endless", "--processes", "2", "--dsn", pgflow_dsn, cwd=folder)
    try:
        wait_until(lambda: claimed_tasks(pgflow_dsn) == 2)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == code, stderr
    assert stdout == ""
    assert f"interrupted by {number.name}" in stderr
    assert claimed_tasks(pgflow_dsn) == 0
    with psycopg.connect(pgflow_dsn, autocommit=True) as conn:
        assert conn.execute(
            "select distinct status, attempts_count from pgflow.step_tasks where step_slug = 'sleep'"
        ).fetchall() == [("queued", 0)]


def test_a_reader_that_leaves_early_is_no_error(folder, pgflow_dsn):
    process = begin("run", "greet.py", "--dsn", pgflow_dsn, cwd=folder)
    try:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_no_process_of_a_run_outlives_it(folder, pgflow_dsn):
    mark = f"PGFLOW_TEST_MARK_{os.getpid()}"
    done = pgflow_mp("run", "greet.py", "--dsn", pgflow_dsn, cwd=folder, env={"MARK": mark})
    assert done.returncode == 0, done.stderr
    wait_until(lambda: not processes_with(mark))


def claimed_tasks(dsn: str) -> int:
    with psycopg.connect(dsn, autocommit=True) as conn:
        found = conn.execute("select count(*) from pgflow.step_tasks where status = 'started' and step_slug = 'sleep'")
        return found.fetchone()[0]  # type: ignore[index]


def processes_with(mark: str) -> list[str]:
    """The living processes that have the mark in their environment (proc(5); none to see elsewhere)."""
    return [str(environ) for environ in Path("/proc").glob("[0-9]*/environ") if mark in read(environ)]


def read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # the process has gone, or is not ours
        return ""


def wait_until(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@pytest.mark.slow
def test_json_is_the_whole_run_whether_it_failed_or_not(run):
    done = run("flows.py:Fails", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert (found["flow_slug"], found["status"]) == ("fails", "failed")
    assert [task["status"] for task in found["steps"]["divide"]["tasks"]].count("failed") == 1
    assert "failed in step divide[2]" in done.stderr
