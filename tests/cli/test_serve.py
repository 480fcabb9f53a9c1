from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import pytest

from pgflow_mp.cli import main
from pgflow_mp.engine.worker import Worker
from tests.cli.command import GREET, begin, is_one_sentence

if TYPE_CHECKING:
    import subprocess

SLOW = """
import time

from pgflow_mp import Flow, step


class Slow(Flow, max_attempts=1, timeout=600):
    @step
    def sleep(flow_input):
        time.sleep(flow_input["seconds"])
        return "slept"
"""

TALKS = """
import logging

from pgflow_mp import Flow, step


class Talks(Flow, max_attempts=1):
    @step
    def talk(flow_input):
        print("two")
        logging.getLogger("talks").info("words")
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "greet.py").write_text(GREET)
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "talks.py").write_text(TALKS)
    return tmp_path


@pytest.fixture
def serve(folder, pgflow_dsn):
    """Start workers; kill those that a failed test leaves."""
    started: list[subprocess.Popen[str]] = []

    def serve(*arguments: str) -> subprocess.Popen[str]:
        started.append(begin("serve", *arguments, "--dsn", pgflow_dsn, "--processes", "2", cwd=folder))
        return started[-1]

    yield serve
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def conn(pgflow_conn):
    return pgflow_conn


def wait_for(conn, query: str, expected: tuple, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while (found := conn.execute(query).fetchone()) != expected:
        assert time.monotonic() < deadline, f"{query}: {found}, not {expected}"
        time.sleep(0.05)


def start(conn, slug: str, text: str = "{}") -> None:
    wait_for(conn, f"select count(*) from pgflow.flows where flow_slug = '{slug}'", (1,))
    conn.execute("select pgflow.start_flow(%s, %s::jsonb)", (slug, text))


def finish(process: subprocess.Popen[str], seconds: float = 30) -> tuple[int, str]:
    _, stderr = process.communicate(timeout=seconds)
    return process.returncode, stderr


def test_a_worker_serves_all_flows_of_its_modules_and_drains_on_sigterm(serve, conn):
    process = serve("greet", "slow.py")
    start(conn, "greet")
    start(conn, "slow", '{"seconds": 0}')
    wait_for(conn, "select count(*) from pgflow.runs where status = 'completed'", (2,))
    process.send_signal(signal.SIGTERM)
    code, log = finish(process)
    assert code == 0, log
    assert "nothing is left claimed" in log
    assert conn.execute("select count(*) from pgflow.workers where stopped_at is null").fetchone() == (0,)


@pytest.mark.slow
def test_a_running_task_gets_the_grace_to_finish(serve, conn):
    process = serve("slow.py", "--grace", "20")
    start(conn, "slow", '{"seconds": 2}')
    wait_for(conn, "select count(*) from pgflow.step_tasks where status = 'started'", (1,))
    process.send_signal(signal.SIGTERM)
    code, log = finish(process)
    assert code == 0, log
    assert conn.execute("select status, output from pgflow.runs").fetchall() == [("completed", {"sleep": "slept"})]


def test_what_does_not_finish_within_the_grace_is_given_back(serve, conn):
    process = serve("slow.py", "--grace", "0.5")
    start(conn, "slow", '{"seconds": 300}')
    wait_for(conn, "select count(*) from pgflow.step_tasks where status = 'started'", (1,))
    process.send_signal(signal.SIGINT)
    code, log = finish(process)
    assert code == 0, log
    assert conn.execute("select status, attempts_count from pgflow.step_tasks").fetchall() == [("queued", 0)]


def test_a_second_signal_gives_everything_back_at_once(serve, conn):
    process = serve("slow.py", "--grace", "300")
    start(conn, "slow", '{"seconds": 300}')
    wait_for(conn, "select count(*) from pgflow.step_tasks where status = 'started'", (1,))
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    code, log = finish(process)
    assert code == 0, log
    assert conn.execute("select status, attempts_count from pgflow.step_tasks").fetchall() == [("queued", 0)]


def test_a_worker_asked_to_finish_in_the_database_ends(serve, conn):
    process = serve("greet.py")
    wait_for(conn, "select count(*) from pgflow.workers", (1,))
    conn.execute("update pgflow.workers set deprecated_at = now()")
    code, log = finish(process)
    assert code == 0, log


def test_serve_needs_a_database(folder, call):
    done = call("serve", "greet.py", cwd=folder)
    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert "needs a database" in done.stderr


def test_serve_refuses_a_flow_whose_shape_differs_before_it_claims(folder, call, pgflow_dsn, conn):
    assert call("compile", "greet.py", "--dsn", pgflow_dsn, cwd=folder).returncode == 0
    (folder / "later.py").write_text(GREET.replace("def greeting", "def welcome"))
    done = call("serve", "later.py", "--dsn", pgflow_dsn)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert "welcome" in done.stderr
    assert conn.execute("select count(*) from pgflow.workers").fetchone() == (0,)


def test_what_is_typed_reaches_the_worker_and_what_is_not_is_left_to_it(pgflow_dsn, tmp_path, monkeypatch):
    (tmp_path / "greet.py").write_text(GREET)
    monkeypatch.chdir(tmp_path)
    made = []

    class Recorded(Worker):
        def __init__(self, dsn, flows, **options):
            made.append(options)
            super().__init__(dsn, flows, **options)
            self.stop()

    monkeypatch.setattr("pgflow_mp.cli.serve.Worker", Recorded)
    monkeypatch.setattr("pgflow_mp.cli.logs.to_stderr", lambda *_, **__: None)  # the test's own logging stays
    given = {"loops": 2, "tasks_per_loop": 7, "threads": 3, "unknown_step_timeout": 60.0, "max_payload": 5}
    typed = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", f"{value:g}")]
    assert main(["serve", "greet.py", "--dsn", pgflow_dsn, "--processes", "1", *typed]) == 0
    assert main(["serve", "greet.py", "--dsn", pgflow_dsn, "--processes", "1"]) == 0
    assert given.items() <= made[0].items()
    assert not given.keys() & made[1].keys()


@pytest.mark.slow
def test_the_log_as_json_has_an_object_on_each_line_also_of_what_handlers_print(serve, conn):
    worker = serve("talks.py", "--json")
    start(conn, "talks")
    wait_for(conn, "select count(*) from pgflow.runs where status = 'completed'", (1,))
    worker.send_signal(signal.SIGTERM)
    _, log = worker.communicate(timeout=30)
    lines = [json.loads(line) for line in log.splitlines()]
    assert worker.returncode == 0
    assert lines[0]["message"] == "talks: compiled"
    assert lines[-1]["message"] == "stopped, nothing is left claimed"
    assert {line["level"] for line in lines} == {"INFO"}
    printed, logged = (line for line in lines if line["step_slug"])
    assert {printed["logger"], logged["logger"]} == {"pgflow_mp.printed", "talks"}
    assert {printed["message"], logged["message"]} == {"two", "words"}
    (run_id,) = conn.execute("select run_id::text from pgflow.runs").fetchone()
    for line in (printed, logged):
        assert (line["flow_slug"], line["run_id"], line["step_slug"], line["task_index"]) == (
            "talks",
            run_id,
            "talk",
            0,
        )


@pytest.mark.slow
def test_the_log_names_task_and_run_of_what_handlers_print_and_log(serve, conn):
    worker = serve("talks.py")
    start(conn, "talks")
    wait_for(conn, "select count(*) from pgflow.runs where status = 'completed'", (1,))
    worker.send_signal(signal.SIGTERM)
    code, log = finish(worker)
    assert code == 0, log
    (run_id,) = conn.execute("select run_id::text from pgflow.runs").fetchone()
    assert f"\ntalks.talk[0] {run_id} two\n" in log
    (logged,) = [line for line in log.splitlines() if line.endswith("INFO talks: words")]
    assert logged.startswith(f"talks.talk[0] {run_id} 20")


HANDLERS = """
from pgflow_mp import handles


@handles("greet")
def greet(flow_input):
    return "{greeting} " + flow_input["name"]
"""


def test_flows_made_at_run_time_are_served_by_handlers_that_a_reload_replaces(serve, folder, pgflow):
    (folder / "handlers.py").write_text(HANDLERS.replace("{greeting}", "Hello"))
    pgflow.upsert_flow("tenant", [{"slug": "greet"}])
    worker = serve("--handlers", "handlers.py")
    assert pgflow.start_flow_sync("tenant", {"name": "Ada"}, timeout=30).output == {"greet": "Hello Ada"}
    (folder / "handlers.py").write_text(HANDLERS.replace("{greeting}", "Good day"))
    worker.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 30
    while (output := pgflow.start_flow_sync("tenant", {"name": "Ada"}, timeout=30).output)["greet"] != "Good day Ada":
        assert time.monotonic() < deadline, output
    worker.send_signal(signal.SIGTERM)
    _, log = worker.communicate(timeout=30)
    assert worker.returncode == 0, log


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["serve"], "name a module with flows, or with --handlers one"),
        (
            ["serve", "--handlers", "greet.py"],
            "greet.py has no handlers: a handler is a function with",
        ),
    ],
)
def test_a_worker_with_nothing_to_serve_is_refused(folder, monkeypatch, capsys, pgflow_dsn, arguments, says):
    monkeypatch.chdir(folder)
    assert main([*arguments, "--dsn", pgflow_dsn]) == 2
    assert says in capsys.readouterr().err
