"""Plugins on the command line: listed, checked, and heard in `run`."""

from __future__ import annotations

import json

import pytest

from pgflow_mp.hooks import specs
from tests.cli.command import GREET, is_one_sentence, pgflow_mp

WITNESS = """
import os
from pathlib import Path

from pgflow_mp.hooks import hookimpl

NOTES = Path(__file__).parent / "notes"


def note(text):
    with NOTES.open("a") as notes:
        notes.write(text + "\\n")


def pgflow_flow_compiled(flow_slug, status):
    note(f"{flow_slug} {status}")


def pgflow_run_started(run):
    note(f"{run.flow_slug} started")


def pgflow_run_completed(run):
    note(f"{run.flow_slug} completed")


def pgflow_child_init(child):
    assert child.pid == os.getpid()
    note(f"a child begins: {child.kind}")


@hookimpl(wrapper=True)
def pgflow_call_handler(task):
    result = yield
    return result.upper() if task.step_slug == "greeting" else result
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "greet.py").write_text(GREET)
    (tmp_path / "witness.py").write_text(WITNESS)
    (tmp_path / "typo.py").write_text("def pgflow_task_complete(task):\n    pass\n")
    return tmp_path


def test_a_run_with_a_plugin_is_heard_in_the_worker_and_wrapped_in_the_children(folder, pgflow_dsn):
    done = pgflow_mp("run", "greet.py", "--plugin", "witness", "--processes", "1", "--dsn", pgflow_dsn, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"greeting": ["HELLO ADA", "HELLO GRACE"]}
    notes = (folder / "notes").read_text().splitlines()
    assert notes == ["greet compiled", "greet started", "a child begins: process", "greet completed"]


def test_plugins_are_listed_with_their_hooks(call, folder):
    told = call("plugins", "--plugin", "witness", "--json", cwd=folder)
    (plugin,) = json.loads(told.stdout)
    assert (plugin["name"], plugin["origin"], plugin["reference"]) == ("witness", "by name", "witness")
    assert plugin["hooks"] == [
        "pgflow_run_started",
        "pgflow_run_completed",
        "pgflow_flow_compiled",
        "pgflow_child_init",
        "pgflow_call_handler",
    ]
    assert "pgflow_call_handler" in call("plugins", "--plugin", "witness", cwd=folder).stdout


def test_without_plugins_the_list_says_so(call):
    assert call("plugins").stdout == "no plugins: none is installed, and none was named with --plugin\n"


def test_all_hooks_are_listed_with_what_they_are_for(call):
    hooks = json.loads(call("plugins", "--hooks", "--json").stdout)
    assert [hook["hook"] for hook in hooks] == list(specs.NAMES)
    assert {"hook": "pgflow_step_failed", "parameters": ["step", "error"]}.items() <= hooks[
        list(specs.NAMES).index("pgflow_step_failed")
    ].items()
    table = call("plugins", "--hooks").stdout
    assert all(name in table for name in specs.NAMES)


@pytest.mark.parametrize("command", [["plugins"], ["serve", "greet.py"], ["run", "greet.py"]])
def test_a_misspelt_hook_ends_the_command_with_the_nearest_name(call, folder, command):
    told = call(*command, "--plugin", "typo", cwd=folder)
    assert told.returncode == 2
    assert is_one_sentence(told.stderr)
    assert "pgflow_task_complete: there is no such hook (did you mean `pgflow_task_completed`?)" in told.stderr


def test_a_plugin_that_is_not_there_is_named(call, folder):
    told = call("plugins", "--plugin", "nowhere", cwd=folder)
    assert told.returncode == 2
    assert told.stderr == (
        "pgflow-mp: plugin `nowhere` cannot be loaded: ModuleNotFoundError: No module named 'nowhere'\n"
    )
