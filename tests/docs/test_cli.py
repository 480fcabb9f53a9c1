"""The command line is as documented: every example of docs/cli.md and of the help runs, JSON has the listed keys."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import psycopg
import pytest

from pgflow_mp.cli import parser
from pgflow_mp.client import PgFlow
from pytest_pgflow import factories
from tests.cli.command import begin, environment
from tests.docs.documents import ROOT, blocks

CLI = ROOT / "docs/cli.md"
OPERATING = ROOT / "docs/operating.md"

FLOWS = """
from pgflow_mp import Flow, job, map_step, step


class ProcessOrder(Flow, max_attempts=1, base_delay=0):
    @step
    def lines(flow_input):
        return ["tea", "coffee"]

    @map_step(over=lines)
    def price(item):
        return len(item)

    @step
    def charge(price):
        return {"total": sum(price)}
"""

JOBS = """

@job
def send_mail(flow_input):
    return "sent"
"""

HANDLERS = """
from pgflow_mp import handles


@handles("fetch")
def fetch(flow_input):
    return flow_input
"""

FILES = {
    "flows.py": FLOWS.replace("job, ", ""),
    "app/__init__.py": "",
    "app/flows.py": FLOWS + JOBS,
    "app/handlers.py": HANDLERS,
    "app/alerts.py": "def pgflow_run_failed(run, error):\n    print(run.run_id, error)\n",
    "reports.py": FLOWS.replace("job, ", "").replace("ProcessOrder", "Report"),
    "order.json": '{"order_id": 1}',
    "orders.jsonl": '{"order_id": 1}\n{"order_id": 2}\n',
    "mail.json": '{"to": "ada@example.org"}',
    "mails.jsonl": '{"to": "ada@example.org"}\n',
}

#: Exit codes other than 0 that are right: commands that never end by themselves are given a limit.
ENDLESS = {"watch": ["--timeout", "0.2"]}

docs_dsn = factories.dsn(scope="module")
docs_runner = factories.flow_runner("docs_dsn", scope="module", executor="inline")


def examples() -> list[str]:
    """The example commands of the documents and of every help, each once."""
    found = [line[2:] for block in blocks(CLI, "console") for line in block.text.splitlines() if line.startswith("$ ")]
    # What this one shows of `serve` is for other machines: poolers, containers.
    other = [line[2:] for block in blocks(OPERATING, "console") for line in block.text.splitlines()]
    found += [line for line in other if line.startswith("pgflow-mp ") and name_of(line) != "serve"]
    commands = parser.commands(parser.make()).values()
    actions = [action for command in commands for action in parser.actions(command).values()]
    for command in (parser.make(), *commands, *actions):
        found += re.findall(r"^  ((?:.*\| )?pgflow-mp .*?)(?:  .*)?$", command.epilog or "", re.MULTILINE)
    return list(dict.fromkeys(found))


def name_of(line: str) -> str:
    return shlex.split(line.partition("pgflow-mp")[2])[0]


# What of a shell can be done without one: stdin, a file for stdout, and jq behind it.
_LINE = re.compile(r"(?:echo '(.*)' \| )?(pgflow-mp [^|<>]*?)(?: < (\S+))?(?: > \S+)?(?: \| (jq (?:'[^']*'|[^|'])*))?")


def needs_a_process(line: str) -> bool:
    """Whether a real shell is needed, or children: that takes a second."""
    return _LINE.fullmatch(line) is None or name_of(line) in ("run", "serve") or "--wait" in line


def parameters():
    return [pytest.param(line, id=line, marks=[pytest.mark.slow] * needs_a_process(line)) for line in examples()]


@pytest.fixture(scope="module")
def world(docs_dsn, docs_runner, tmp_path_factory):
    """A folder with what the examples name, a database with their flows, and a run that is done."""
    folder = tmp_path_factory.mktemp("docs")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    for place in (".zfunc", ".config/fish/completions", ".local/share/bash-completion/completions"):
        (folder / place).mkdir(parents=True)
    (folder / "pgflow-mp").write_text(f'#!/bin/sh\nexec {sys.executable} -m pgflow_mp "$@"\n')
    (folder / "pgflow-mp").chmod(0o755)
    defined = {"__name__": "app.flows"}
    exec(FILES["app/flows.py"], defined)
    done = docs_runner.run(defined["ProcessOrder"], {"order_id": 1})
    with PgFlow(docs_dsn) as app, psycopg.connect(docs_dsn, autocommit=True) as conn:
        app.compile(defined["send_mail"])
        # One of another language, so that tasks wait for somebody.
        conn.execute(
            "insert into pgflow.workers (worker_id, queue_name, function_name, last_heartbeat_at) "
            "select gen_random_uuid(), queue_name, 'another', now() + interval '1 hour' from pgmq.list_queues()"
        )
        conn.execute(
            "insert into pgflow_mp.task_progress values (%s, 'price', 0, 1, 0.5, 'half of it', now())", [done.run_id]
        )
    return SimpleNamespace(folder=folder, dsn=docs_dsn, run_id=str(done.run_id))


@pytest.fixture(scope="module")
def worker(world):
    """A worker for the flows, for examples that wait for one."""
    process = begin("serve", "app.flows", "--processes", "1", cwd=world.folder, env={"PGFLOW_DSN": world.dsn})
    yield process
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)


@pytest.fixture
def roles(request, world):
    """The roles that an example grants to, for as long as it runs."""
    if "-role" not in request.node.name:
        yield {}
        return
    names = {"app_worker": "docs_cli_worker", "app": "docs_cli_app"}
    with psycopg.connect(world.dsn, autocommit=True) as conn:
        for role in names.values():
            conn.execute(f"create role {role}")
        yield names
        for role in names.values():
            conn.execute(f"drop owned by {role}")
            conn.execute(f"drop role {role}")


def going(world) -> str:
    """A run that has not ended, nor will."""
    with PgFlow(world.dsn) as app:
        return str(app.enqueue_in("process_order", {}, 3600))


def cancelled(world) -> str:
    """A run of which something is left to be repeated."""
    with PgFlow(world.dsn) as app:
        return str(app.cancel_run(going(world)).run_id)


def prepared(line: str, world, roles) -> str:
    """The example with what this world has for DSN and RUN_ID, and the names of its roles; it makes what is named."""
    if " schedules " in line:
        with PgFlow(world.dsn) as app:
            app.schedule("process_order", {"order_id": 1}, every=86_400)
    if name_of(line) == "retry":
        line = line.replace("RUN_ID", cancelled(world))
    line = line.replace("RUN_ID", going(world) if " cancel" in line else world.run_id)
    line = re.sub(r"--dsn \S+", f"--dsn {shlex.quote(world.dsn)}", line)
    return re.sub(r"(?<=-role )\w+", lambda role: roles[role[0]], line)


@pytest.mark.parametrize("line", parameters())
def test_every_example_runs(line, world, roles, call, monkeypatch, request):
    command = prepared(line, world, roles)
    if "--wait" in line:
        request.getfixturevalue("worker")
    if name_of(line) == "serve":
        serve(command, world)
    elif needs_a_process(line):
        variables = {"PGFLOW_DSN": world.dsn, "HOME": str(world.folder), "PATH": f".:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=world.folder, env=environment(variables), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    else:
        monkeypatch.setenv("PGFLOW_DSN", world.dsn)
        run_here(command, world, call, monkeypatch)
    if name_of(line) == "pause":  # no other example is meant to meet a paused flow
        with PgFlow(world.dsn) as app:
            for slug in app.paused_flows():
                app.resume_flow(slug)


def run_here(command: str, world, call, monkeypatch) -> None:
    """Run the command in this process, and jq on what it prints."""
    echoed, typed, source, query = _LINE.fullmatch(command).groups()
    words = shlex.split(typed)[1:]
    is_endless = words[0] in ENDLESS and world.run_id not in words
    monkeypatch.setattr("sys.stdin", io.StringIO((world.folder / source).read_text() if source else echoed))
    done = call(*words, *(ENDLESS[words[0]] if is_endless else ()), cwd=world.folder)
    assert done.returncode == (124 if is_endless else 0), done.stdout + done.stderr
    if query is not None and shutil.which("jq"):
        subprocess.run(shlex.split(query), input=done.stdout, text=True, check=True, timeout=30, capture_output=True)


def serve(command: str, world) -> None:
    """Serve until it is ready, then drain."""
    words = shlex.split(command)[1:]
    worker = begin(*words, cwd=world.folder, env={"PGFLOW_DSN": world.dsn})
    try:
        assert any("worker is ready" in line for line in worker.stderr)
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=30)
    assert worker.returncode == 0


def test_every_command_has_examples_in_its_help():
    for name, command in parser.commands(parser.make()).items():
        assert "examples:\n  pgflow-mp " in (command.epilog or ""), name


def documented() -> dict[str, set[str]]:
    """The keys of each object that the document lists."""
    table = CLI.read_text().partition("## JSON\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    return {row[0]: set(re.findall(r"`(\w+)`", row[1])) for row in rows}


def test_json_has_exactly_the_keys_that_are_listed(world, foreign_dsn, call, monkeypatch):
    monkeypatch.setenv("PGFLOW_DSN", world.dsn)

    def ask(*arguments: str, code: int = 0):
        done = call(*arguments, "--json", cwd=world.folder)
        assert done.returncode == code, done.stderr
        return done.stdout

    run = json.loads(ask("show", world.run_id))
    page = json.loads(ask("runs"))
    progress = json.loads(ask("watch", world.run_id))
    flow, listed = json.loads(ask("flows", "process_order")), json.loads(ask("flows"))[0]
    graph = json.loads(ask("graph", "process_order"))
    schedule = json.loads(ask("schedules", "add", "process_order", "--every", "1d"))
    later = json.loads(ask("enqueue", "process_order", "--in", "1h"))
    event = json.loads(ask("watch", "--timeout", "0.1", code=124).splitlines()[0])
    with psycopg.connect(world.dsn, autocommit=True) as conn:
        conn.execute("insert into pgmq.q_process_order (vt, message) values (now(), '{}')")
    adoption = json.loads(ask("adopt", "--dsn", foreign_dsn("0.17.1")))
    found = {
        "adoption": adoption,
        "change": adoption["changes"][0],
        "run": run,
        "step": run["steps"]["price"],
        "task": run["steps"]["price"]["tasks"][0],
        "task's progress": run["steps"]["price"]["tasks"][0]["progress"],
        "page": page,
        "listed run": page["runs"][0],
        "started run": later,
        "progress": progress,
        "step progress": progress["steps"][0],
        "event": event,
        "flow": flow,
        "listed flow": listed,
        "flow step": flow["steps"][0],
        "graph": graph,
        "node": graph["nodes"][0],
        "worker": json.loads(ask("workers"))[0],
        "schedule": schedule,
        "deleted schedule": json.loads(ask("schedules", "delete", "process_order")),
        "pause": json.loads(ask("resume", "process_order"))[0],
        "pruned": json.loads(ask("prune", "--older-than", "9d")),
        "retention": json.loads(ask("retention")),
        "compiled flow": json.loads(ask("compile", "app.flows"))[0],
        "finding": json.loads(ask("doctor", code=1))[0],
        "damage": json.loads(ask("repair"))[0],
        "plugin": json.loads(ask("plugins", "--plugin", "app.alerts"))[0],
        "hook": json.loads(ask("plugins", "--hooks"))[0],
        "installed": json.loads(ask("install")),
        "log record": log_record(),
    }
    assert {name: set(thing) for name, thing in found.items()} == documented()


def log_record() -> dict[str, object]:
    import logging

    from pgflow_mp.cli.logs import JsonFormatter

    record = logging.LogRecord("pgflow_mp", logging.INFO, __file__, 1, "said %s", ("so",), None)
    found = json.loads(JsonFormatter().format(record))
    assert (found["message"], found["level"]) == ("said so", "INFO")
    return found
