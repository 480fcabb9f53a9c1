from __future__ import annotations

import psycopg

from tests.cli.command import is_one_sentence, pgflow_mp


def schemas(dsn: str) -> set[str]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        rows = conn.execute("select nspname from pg_namespace where nspname ~ '^(pgmq|pgflow)'").fetchall()
    return {name for (name,) in rows}


def test_install_says_what_it_did_and_nothing_the_second_time(empty_dsn):
    first = pgflow_mp("install", "--dsn", empty_dsn)
    assert first.returncode == 0, first.stderr
    assert {"pgmq", "pgflow", "pgflow_mp"} <= schemas(empty_dsn)
    assert "tables: created" in first.stdout
    second = pgflow_mp("install", env={"PGFLOW_DSN": empty_dsn})
    assert second.returncode == 0
    assert all("nothing to do" in line for line in second.stdout.splitlines())


def test_install_without_a_dsn_says_how_to_give_one():
    done = pgflow_mp("install")
    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert "pass --dsn DSN or set PGFLOW_DSN" in done.stderr


def test_install_into_a_foreign_schema_changes_nothing(empty_dsn):
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute("create schema pgflow")
        conn.execute("create table pgflow.flows (x int)")
    done = pgflow_mp("install", "--dsn", empty_dsn)
    assert done.returncode == 3
    assert is_one_sentence(done.stderr)
    assert schemas(empty_dsn) == {"pgflow"}
