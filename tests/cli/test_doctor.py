"""``pgflow-mp doctor``: what is wrong with a database, and the command that mends it."""

from __future__ import annotations

import json

import psycopg
import pytest

from pgflow_mp.client import PgFlow
from tests.cli.test_start import Doubling


@pytest.fixture
def doctor(call, pgflow_dsn):
    def doctor(*arguments: str, code: int = 0):
        done = call("doctor", *arguments, "--dsn", pgflow_dsn)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return doctor


def found(done) -> dict[tuple[str, str], list[dict[str, str]]]:
    """The findings by level and part."""
    sorted_: dict[tuple[str, str], list[dict[str, str]]] = {}
    for finding in json.loads(done.stdout):
        sorted_.setdefault((finding["level"], finding["about"]), []).append(finding)
    return sorted_


def test_a_good_database_needs_nobody(doctor):
    text = doctor().stdout
    assert text.splitlines()[-1] == "nothing needs a person"
    assert "pgflow-mp 0." in text
    assert "by role postgres" in text
    assert "✘" not in text
    levels = {level for level, _ in found(doctor("--json"))}
    assert levels <= {"ok", "note"}


def test_trouble_comes_with_the_command_that_mends_it(doctor, call, pgflow_dsn, pgflow_conn):
    with PgFlow(pgflow_dsn) as app:
        app.compile(Doubling)
        app.start_flows(Doubling, [{"n": 1}, {"n": 2}])
    pgflow_conn.execute("delete from pgmq.q_doubling where msg_id = 1")
    pgflow_conn.execute("update pgmq.q_doubling set vt = now() - interval '1 minute'")
    pgflow_conn.execute("insert into pgmq.q_doubling (vt, message) values (now(), '{}')")
    pgflow_conn.execute(
        "insert into pgflow.workers (worker_id, queue_name, function_name, last_heartbeat_at) "
        "values (gen_random_uuid(), 'doubling', 'w', now() - interval '5 minutes')"
    )
    findings = found(doctor("--json", code=1))
    rows = {finding["text"]: finding["command"] for finding in findings["trouble", "rows"]}
    assert rows == {
        "task without a message: 1 case in doubling": "pgflow-mp repair",
        "message without a task: 1 case": "pgflow-mp repair",
    }
    (unserved,) = findings["trouble", "flows"]
    assert "no live worker serves it; start one with `pgflow-mp serve`" in unserved["text"]
    (dead,) = findings["warning", "workers"]
    assert dead["text"].startswith("1 dead;")
    text = doctor(code=1).stdout
    assert "→ pgflow-mp repair" in text
    assert text.splitlines()[-1] == "3 things need a person"
    assert call("repair", "--dsn", pgflow_dsn).returncode == 0
    assert ("trouble", "rows") not in found(doctor("--json", code=1))


def test_functions_of_another_version_are_told(doctor, pgflow_conn):
    pgflow_conn.execute("update pgflow_mp.installed set content_hash = 'another'")
    (finding,) = found(doctor("--json"))["warning", "installation"]
    assert finding["command"] == "pgflow-mp install"


def test_a_database_that_an_older_version_installed_is_told_to_be_brought_up_to_date(doctor, pgflow_conn):
    pgflow_conn.execute("drop function pgflow_mp.installation()")
    (finding,) = found(doctor("--json", code=1))["trouble", "installation"]
    assert "has the functions of another version of pgflow-mp" in finding["text"]
    assert finding["command"] == "pgflow-mp install"


def test_a_transaction_that_is_open_for_long_is_told(doctor, pgflow_dsn, monkeypatch):
    from pgflow_mp.cli.examination import server

    monkeypatch.setattr(server, "OLD_TRANSACTION", 0.0)
    with psycopg.connect(pgflow_dsn, application_name="forgotten") as conn:
        conn.execute("select 1")
        findings = found(doctor("--json"))["warning", "transactions"]
        told = f"process {conn.info.backend_pid} (forgotten, role postgres, idle in transaction)"
        assert [finding["text"].startswith(told) for finding in findings].count(True) == 1


def test_an_empty_database_and_one_with_a_schema_of_somebody_are_told(call, empty_dsn):
    done = call("doctor", "--dsn", empty_dsn, "--json")
    assert done.returncode == 1, done.stderr
    (finding,) = found(done)["trouble", "installation"]
    assert finding["command"] == "pgflow-mp install"
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute("create schema pgflow")
        conn.execute("create view pgflow.pgflow_version as select 2 as version")
        conn.execute("comment on view pgflow.pgflow_version is 'another core version=2'")
    findings = found(call("doctor", "--dsn", empty_dsn, "--json"))
    (whose,) = findings["note", "installation"]
    assert "was not made by pgflow-mp, which says of itself: another core version=2" in whose["text"]
    (trouble,) = findings["trouble", "installation"]
    assert "cannot work with, because its schema pgflow has no table flows" in trouble["text"]
    assert trouble["command"] is None


def test_a_role_without_rights_learns_what_it_may(call, pgflow_dsn, pgflow_conn, server_dsn):
    pgflow_conn.execute("create role doctor_tests_nobody login")
    try:
        done = call("doctor", "--dsn", psycopg.conninfo.make_conninfo(pgflow_dsn, user="doctor_tests_nobody"), "--json")
        assert done.returncode == 1, done.stderr
        assert "doctor_tests_nobody may do nothing here" in found(done)["trouble", "rights"][0]["text"]
    finally:
        pgflow_conn.execute("drop role doctor_tests_nobody")


def test_a_database_that_does_not_answer_is_exit_code_3(call):
    assert call("doctor", "--dsn", "host=127.0.0.1 port=1 dbname=x").returncode == 3
