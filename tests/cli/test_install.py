from __future__ import annotations

import psycopg

from tests.cli.command import is_one_sentence


def schemas(dsn: str) -> set[str]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        rows = conn.execute("select nspname from pg_namespace where nspname ~ '^(pgmq|pgflow)'").fetchall()
    return {name for (name,) in rows}


def test_install_says_what_it_did_and_nothing_the_second_time(call, monkeypatch, empty_dsn):
    first = call("install", "--dsn", empty_dsn)
    assert first.returncode == 0, first.stderr
    assert {"pgmq", "pgflow", "pgflow_mp"} <= schemas(empty_dsn)
    assert "tables: created" in first.stdout
    monkeypatch.setenv("PGFLOW_DSN", empty_dsn)
    second = call("install")
    assert second.returncode == 0
    assert all("nothing to do" in line for line in second.stdout.splitlines())


def test_install_without_a_dsn_says_how_to_give_one(call):
    done = call("install")
    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert "pass --dsn DSN or set PGFLOW_DSN" in done.stderr


def test_install_into_a_foreign_schema_changes_nothing(call, empty_dsn):
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute("create schema pgflow")
        conn.execute("create table pgflow.flows (x int)")
    done = call("install", "--dsn", empty_dsn)
    assert done.returncode == 3
    assert is_one_sentence(done.stderr)
    assert schemas(empty_dsn) == {"pgflow"}
