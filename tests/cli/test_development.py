"""Without a DSN: the user's own embedded database, ready by itself, following the code."""

from __future__ import annotations

import json
import uuid

import pytest

from pgflow_mp import postgres
from pgflow_mp.errors import ServerUnavailable
from tests.cli.command import GREET, is_one_sentence, pgflow_mp
from tests.postgres.helpers import open_temporary_folder


@pytest.fixture(scope="module")
def data_home():
    """Development data of this module's own."""
    with open_temporary_folder() as folder:
        yield folder


@pytest.fixture
def run(tmp_path, data_home):
    def run(*arguments: str, **variables: str):
        return pgflow_mp("run", *arguments, cwd=tmp_path, env={"XDG_DATA_HOME": str(data_home), **variables})

    return run


def test_a_run_without_a_dsn_needs_nothing_but_the_file_and_can_be_looked_at(tmp_path, run, data_home):
    (tmp_path / "greet.py").write_text(GREET)
    done = run("greet.py", '{"names": ["Ada"]}')
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"greeting": ["hello Ada"]}
    assert "development database, " in done.stderr
    listed = pgflow_mp("runs", "--flow", "greet", "--dev", "--json", env={"XDG_DATA_HOME": str(data_home)})
    assert listed.returncode == 0, listed.stderr
    assert [found["input"] for found in json.loads(listed.stdout)["runs"]] == [{"names": ["Ada"]}]


@pytest.mark.slow
def test_a_changed_flow_is_compiled_anew_and_told(tmp_path, run):
    name = f"flow_{uuid.uuid4().hex[:8]}"
    flow = GREET.replace("class Greet(Flow", f'class Greet(Flow, slug="{name}"')
    (tmp_path / "greet.py").write_text(flow)
    assert run("greet.py").returncode == 0
    again = run("greet.py")
    assert "compiled anew" not in again.stderr
    (tmp_path / "greet.py").write_text(flow.replace("def greeting", "def welcome"))
    changed = run("greet.py")
    assert changed.returncode == 0, changed.stderr
    assert list(json.loads(changed.stdout)) == ["welcome"]
    assert f"{name} was compiled anew, its earlier runs are deleted: " in changed.stderr


def test_without_any_server_to_be_had_it_says_what_was_tried(tmp_path, call, monkeypatch):
    def nothing():
        raise ServerUnavailable([("embedded", "not installed"), ("system", "no binaries found")])

    monkeypatch.setattr(postgres, "development", nothing)
    (tmp_path / "greet.py").write_text(GREET)
    done = call("run", "greet.py", cwd=tmp_path)
    assert done.returncode == 3
    assert is_one_sentence(done.stderr)
    assert "embedded: not installed" in done.stderr
    assert "system: no binaries found" in done.stderr
