from __future__ import annotations

import json

import psycopg
import pytest

from pgflow_mp.core.adopt import adopt
from pgflow_mp.core.install import install
from tests.cli.command import is_one_sentence


@pytest.fixture
def dsn(foreign_dsn):
    return foreign_dsn("0.15.1")


def is_ours(dsn):
    with psycopg.connect(dsn) as conn:
        return adopt(conn).is_ours


def test_without_yes_every_change_is_told_and_none_is_made(call, dsn):
    done = call("adopt", "--dsn", dsn)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the TypeScript core, generation 0.15.1: 0 flows, 0 runs, 0 of them open\n")
    assert "add column pgflow.step_tasks.queue_name: text" in done.stdout
    assert done.stdout.endswith(" to make; nothing was changed. Carry out with: pgflow-mp adopt --yes\n")
    assert not is_ours(dsn)
    told = json.loads(call("adopt", "--dsn", dsn, "--json").stdout)
    assert (told["done"], told["is_ours"], told["obstacles"]) == (False, False, [])
    assert f"{len(told['changes'])} changes to make" in done.stdout


@pytest.mark.slow
def test_with_yes_it_is_ours_and_the_second_time_there_is_nothing_to_do(call, monkeypatch, dsn):
    monkeypatch.setenv("PGFLOW_DSN", dsn)
    done = call("adopt", "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(" changes made: the schema is pgflow-mp's now\n")
    assert is_ours(dsn)
    again = call("adopt", "--yes")
    assert again.returncode == 0
    assert "there is nothing to adopt" in again.stdout


@pytest.mark.slow
def test_the_script_does_what_an_adoption_does(call, dsn):
    script = call("adopt", "--sql", "--dsn", dsn)
    assert script.returncode == 0, script.stderr
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(script.stdout)
        assert adopt(conn).is_ours
        lines = install(conn)
    assert all(line.endswith("nothing to do") for line in lines), lines


@pytest.mark.slow
def test_what_is_in_the_way_is_exit_code_1(call, dsn):
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("insert into pgflow.flows (flow_slug) values ('Greet'), ('greet')")
    for options in ((), ("--yes",), ("--sql",), ("--json",)):
        done = call("adopt", "--dsn", dsn, *options)
        assert done.returncode == 1
        assert "flows Greet, greet differ only in case" in done.stdout
    assert not is_ours(dsn)


def test_a_database_without_pgflow_is_one_sentence(call, empty_dsn):
    done = call("adopt", "--dsn", empty_dsn)
    assert done.returncode == 3
    assert is_one_sentence(done.stderr)
    assert "`pgflow-mp install`" in done.stderr
    assert call("adopt", "--dsn", empty_dsn, "--wait", "-1").returncode == 2
