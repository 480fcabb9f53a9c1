from __future__ import annotations

import json

import psycopg
import pytest

from tests.cli.command import GREET, is_one_sentence

FAREWELL = GREET.replace("Greet", "Farewell")


@pytest.fixture
def flows(tmp_path):
    """The file flows.py below the current folder of the command."""
    file = tmp_path / "flows.py"
    file.write_text(GREET)
    return file


def flow_slugs(dsn: str) -> set[str]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        return {slug for (slug,) in conn.execute("select flow_slug from pgflow.flows").fetchall()}


def test_compile_makes_a_flow_and_then_verifies_it(flows, call, monkeypatch, pgflow_dsn):
    first = call("compile", "flows", "--dsn", pgflow_dsn, cwd=flows.parent)
    assert (first.returncode, first.stdout) == (0, "greet: compiled\n"), first.stderr
    monkeypatch.setenv("PGFLOW_DSN", pgflow_dsn)
    second = call("compile", "flows.py")
    assert (second.returncode, second.stdout) == (0, "greet: verified\n"), second.stderr


def test_a_changed_option_is_updated_and_told(flows, call, pgflow_dsn):
    call("compile", "flows", "--dsn", pgflow_dsn, cwd=flows.parent)
    (flows.parent / "later.py").write_text(GREET.replace("max_attempts=1", "max_attempts=4"))
    done = call("compile", "later", "--dsn", pgflow_dsn, cwd=flows.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("greet: verified, options updated (")
    with psycopg.connect(pgflow_dsn, autocommit=True) as conn:
        assert conn.execute("select opt_max_attempts from pgflow.flows").fetchone() == (4,)


def test_one_flow_that_differs_leaves_all_as_they_were(flows, call, pgflow_dsn):
    call("compile", "flows", "--dsn", pgflow_dsn, cwd=flows.parent)
    (flows.parent / "later.py").write_text(FAREWELL + GREET.replace("def greeting", "def welcome"))
    done = call("compile", "later", "--dsn", pgflow_dsn, cwd=flows.parent)
    assert done.returncode == 1
    assert done.stdout == ""
    assert is_one_sentence(done.stderr)
    assert "greeting" in done.stderr
    assert "welcome" in done.stderr
    assert flow_slugs(pgflow_dsn) == {"greet"}


def test_a_flow_that_differs_is_made_anew_on_request_and_the_loss_is_told(flows, call, pgflow_dsn):
    flows.write_text(GREET + FAREWELL)
    call("compile", "flows", "--dsn", pgflow_dsn, cwd=flows.parent)
    with psycopg.connect(pgflow_dsn, autocommit=True) as conn:
        conn.execute("select pgflow.start_flow('greet', '{}'), pgflow.start_flow('farewell', '{}')")
        (flows.parent / "later.py").write_text(FAREWELL + GREET.replace("def greeting", "def welcome"))
        done = call("compile", "--recompile", "later", "--dsn", pgflow_dsn, cwd=flows.parent)
        assert done.returncode == 0, done.stderr
        one, other = done.stdout.splitlines()
        assert one == "farewell: verified"
        assert other.startswith("greet: recompiled, its earlier runs are deleted (")
        assert "welcome" in other
        assert conn.execute("select flow_slug from pgflow.runs").fetchall() == [("farewell",)]


def test_the_refusal_of_a_flow_that_differs_names_the_command_that_replaces_it(flows, call, pgflow_dsn):
    call("compile", "flows", "--dsn", pgflow_dsn, cwd=flows.parent)
    (flows.parent / "later.py").write_text(GREET.replace("def greeting", "def welcome"))
    done = call("compile", "later", "--dsn", pgflow_dsn, cwd=flows.parent)
    assert "`pgflow-mp compile --recompile MODULE`" in done.stderr
    assert "deletes all its runs" in done.stderr


def test_a_dropped_queue_is_made_again_and_told(flows, call, pgflow_dsn):
    call("compile", "flows", "--dsn", pgflow_dsn, cwd=flows.parent)
    with psycopg.connect(pgflow_dsn, autocommit=True) as conn:
        conn.execute("drop table pgmq.q_greet")
    done = call("compile", "flows", "--dsn", pgflow_dsn)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("greet: verified, queue made again (greet), its tables were gone")
    assert "`pgflow-mp repair`" in done.stdout


def test_all_flows_that_differ_are_listed_at_once(flows, call, pgflow_dsn):
    flows.write_text(GREET + FAREWELL)
    call("compile", "flows", "--dsn", pgflow_dsn, cwd=flows.parent)
    (flows.parent / "later.py").write_text((GREET + FAREWELL).replace("def greeting", "def welcome"))
    done = call("compile", "later", "--dsn", pgflow_dsn, cwd=flows.parent)
    assert done.returncode == 1
    assert "`greet`" in done.stderr
    assert "`farewell`" in done.stderr


def test_a_database_without_pgflow_names_the_command_that_installs(flows, call, empty_dsn):
    done = call("compile", "flows", "--dsn", empty_dsn, cwd=flows.parent)
    assert done.returncode == 3
    assert is_one_sentence(done.stderr)
    assert "pgflow-mp install" in done.stderr


def test_a_module_that_fails_compiles_nothing(flows, call, pgflow_dsn):
    (flows.parent / "broken.py").write_text("import no_such_thing\n")
    done = call("compile", "flows", "broken", "--dsn", pgflow_dsn, cwd=flows.parent)
    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert flow_slugs(pgflow_dsn) == set()


def test_check_tells_what_differs_and_changes_nothing(flows, call, pgflow_dsn, pgflow_conn):
    missing = call("compile", "flows", "--check", "--dsn", pgflow_dsn, cwd=flows.parent)
    assert (missing.returncode, missing.stdout) == (1, "greet: missing\n"), missing.stderr
    assert flow_slugs(pgflow_dsn) == set()
    call("compile", "flows", "--dsn", pgflow_dsn)
    verified = call("compile", "flows", "--check", "--dsn", pgflow_dsn)
    assert (verified.returncode, verified.stdout) == (0, "greet: verified\n"), verified.stderr
    (flows.parent / "options.py").write_text(GREET.replace("max_attempts=1", "max_attempts=4"))
    options = call("compile", "options", "--check", "--dsn", pgflow_dsn)
    assert options.returncode == 1
    assert options.stdout == "greet: verified\n  - option max_attempts of the flow: 1 -> 4\n"
    (flows.parent / "shape.py").write_text(FAREWELL + GREET.replace("def greeting", "def welcome"))
    shape = call("compile", "shape", "--check", "--json", "--dsn", pgflow_dsn)
    assert shape.returncode == 1
    farewell, greet = json.loads(shape.stdout)
    assert (farewell["status"], greet["status"]) == ("missing", "mismatch")
    assert len(greet["differences"]) == 1
    pgflow_conn.execute("drop table pgmq.q_greet")
    queue = call("compile", "flows", "--check", "--dsn", pgflow_dsn)
    assert queue.stdout == "greet: verified\n  - the tables of queue greet are gone\n"
    assert pgflow_conn.execute("select opt_max_attempts from pgflow.flows").fetchone() == (1,)


def test_compiled_flows_as_json(flows, call, pgflow_dsn):
    first = json.loads(call("compile", "flows", "--json", "--dsn", pgflow_dsn, cwd=flows.parent).stdout)
    assert first == [
        {
            "slug": "greet",
            "status": "compiled",
            "differences": [],
            "options_changed": [],
            "options_left": [],
            "queues_restored": [],
            "schedules_changed": [],
        }
    ]
    (flows.parent / "later.py").write_text(FAREWELL + GREET.replace("def greeting", "def welcome"))
    refused = call("compile", "later", "--json", "--dsn", pgflow_dsn)
    assert refused.returncode == 1
    (greet,) = json.loads(refused.stdout)
    assert (greet["slug"], greet["status"]) == ("greet", "mismatch")


def test_check_looks_at_declared_schedules_too(flows, call, pgflow_dsn):
    call("compile", "flows", "--dsn", pgflow_dsn, cwd=flows.parent)
    (flows.parent / "timed.py").write_text(GREET.replace("max_attempts=1", 'max_attempts=1, schedule="@daily"'))
    done = call("compile", "timed", "--check", "--dsn", pgflow_dsn)
    assert (done.returncode, done.stdout) == (1, "greet: verified\n  - schedule greet is set by compiling\n"), (
        done.stderr
    )
    call("compile", "timed", "--dsn", pgflow_dsn)
    assert call("compile", "timed", "--check", "--dsn", pgflow_dsn).returncode == 0
