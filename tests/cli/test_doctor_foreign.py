"""``pgflow-mp doctor`` in a database that the tools of another language made."""

from __future__ import annotations

import psycopg
import pytest

from pgflow_mp.cli.database import Session
from pgflow_mp.cli.examination import examine, examine_core
from pgflow_mp.cli.objects import as_json
from pgflow_mp.core.generation import probe
from pgflow_mp.core.install import install
from pgflow_mp.core.queries.examination import surroundings
from tests.cli.test_doctor import found
from tests.core import foreign


@pytest.fixture
def doctor(foreign_db):
    """Change a database of that generation, examine its core: the findings by level and part. It is all taken back.

    With pgflow-mp beside it, or where rows are asked for, everything is examined.
    """
    known: dict[str, psycopg.Connection] = {}

    def doctor(generation: str, *changes: str, beside: bool = False, rows: bool = False):
        if generation not in known:
            known[generation] = foreign_db(generation)
        conn = known[generation]
        if beside:
            install(conn)
        for change in changes:
            conn.execute(change)
        db = Session("", conn)
        told = examine(db) if beside or rows else examine_core(db, db.ask(surroundings()), db.ask(probe()))
        findings: dict[tuple[str, str], list[dict[str, str]]] = {}
        for finding in as_json(list(told)):
            findings.setdefault((finding["level"], finding["about"]), []).append(finding)
        return findings

    return doctor


def needs_a_person(findings):
    return "trouble" in {level for level, _ in findings}


def texts(findings, level, about):
    return [finding["text"] for finding in findings.get((level, about), ())]


def test_what_is_there_by_whom_and_what_installing_would_do(doctor):
    findings = doctor("0.17.1")
    (whose,) = texts(findings, "ok", "installation")
    assert whose.endswith("was not made by pgflow-mp; it is the TypeScript core, generation 0.17.1")
    assert "belongs to role postgres" in whose
    (trouble,) = findings["trouble", "installation"]
    assert "adds schema pgflow_mp and changes nothing of what is there" in trouble["text"]
    assert trouble["command"] == "pgflow-mp install"


@pytest.mark.parametrize("beside", [False, True])
def test_nothing_is_changed(foreign_db, beside):
    conn = foreign_db("0.14.1")
    if beside:
        install(conn)
    before = foreign.catalog(conn, ("pgflow", "pgmq", "pgflow_mp"))
    assert list(examine(Session("", conn)))
    assert foreign.catalog(conn, ("pgflow", "pgmq", "pgflow_mp")) == before


def test_whose_workers_can_run_and_what_stops_the_others(doctor):
    findings = doctor("0.16.0")
    (can,) = texts(findings, "ok", "generations")
    assert can == "whose workers can run here: TypeScript 0.16 HTTP; TypeScript 0.16 process"
    cannot = texts(findings, "note", "generations")
    assert (
        "whose workers cannot, since there is no ensure_flow_compiled that takes 4 arguments: "
        "TypeScript 0.17.0; TypeScript 0.17.1"
    ) in cannot


def test_telemetry_is_told_with_the_call_that_ends_it(doctor):
    (on,) = doctor("0.17.1")["warning", "telemetry"]
    assert on["command"] == 'psql -c "select pgflow_telemetry.disable()"'
    off = doctor("0.17.1", "select pgflow_telemetry.disable()")
    assert texts(off, "ok", "telemetry") == ["the core's reports to its makers are off"]
    assert ("warning", "telemetry") not in off


LONG_STEP = (
    "select pgflow.create_flow('long', timeout => 60)",
    "select pgflow.add_step('long', 'brief', timeout => 90)",
    "select pgflow.add_step('long', 'lengthy', timeout => 600)",
)


def test_timeouts_that_recovery_would_misjudge_are_told_with_the_update_that_mends_it(doctor):
    """core ST-1: by the flow's timeout and 30 s; generations RQ-1: from 0.15.1 on by the step's."""
    findings = doctor("0.14.1", *LONG_STEP)
    (misjudged,) = findings["trouble", "timeouts"]
    assert misjudged["text"].startswith("step lengthy of long may take 600 s")
    assert "takes its tasks away after 90 s" in misjudged["text"]
    repaired = misjudged["command"].removeprefix('psql -c "').removesuffix('"')
    assert ("trouble", "timeouts") not in doctor("0.14.1", repaired)
    assert ("trouble", "timeouts") not in doctor("0.15.1", *LONG_STEP)


@pytest.mark.slow
def test_elixir_s_recovery_judges_by_the_step(doctor):
    """generations 7.1: from its helpers V02 on."""
    assert ("trouble", "timeouts") not in doctor("elixir 0.3", *LONG_STEP)
    (misjudged,) = texts(doctor("elixir 0.3", "drop view pgflow.extensions_version"), "trouble", "timeouts")
    assert "lengthy" in misjudged


def test_timeouts_are_no_trouble_to_workers_of_ours(doctor):
    """They beat, and so keep their tasks; those of other languages do not."""
    findings = doctor("0.14.1", *LONG_STEP, beside=True)
    (misjudged,) = texts(findings, "warning", "timeouts")
    assert "(workers of pgflow-mp keep theirs while they beat)" in misjudged


CLASH = (
    "the slug of step twice of flow good differs from Twice by case only: cores from 0.17 on take them for one; "
    "make it anew under another slug"
)


def test_slugs_that_newer_cores_refuse_are_told(doctor):
    """generations SU-9."""
    findings = doctor(
        "0.16.0",
        "select pgflow.create_flow('_private')",
        "select pgflow.create_flow('good')",
        "select pgflow.add_step('good', 'a__b')",
        "select pgflow.add_step('good', 'Twice')",
        "select pgflow.add_step('good', 'twice')",
    )
    told = texts(findings, "warning", "slugs")
    assert [text.partition(" (")[0] for text in told] == [
        "cores from 0.17 on refuse the slug of flow _private",
        "cores from 0.17 on refuse the slug of step a__b of flow good",
        CLASH,
    ]


def test_what_a_core_lacks_is_told(doctor):
    lacks = texts(doctor("0.14.1"), "note", "features")
    assert [text.split(" (0.1")[-1][:4] for text in lacks[:-1]] == ["5.1 ", "7 br"]
    driven = doctor("0.17.0")
    (cost,) = driven["note", "features"]
    assert "costs the server two to four times" in cost["text"]
    assert cost["command"] == "pgflow-mp adopt"
    assert texts(driven, "ok", "features") == ["pg_cron recovers tasks of workers that are gone, every 15 seconds"]
    (undriven,) = doctor("0.17.0", "select cron.unschedule('pgflow_requeue_stalled_tasks')")["warning", "features"]
    assert undriven["command"] == 'psql -c "select pgflow.setup_requeue_stalled_tasks_cron()"'


def test_a_core_without_its_event_service_is_told_with_what_stands_in_for_it(doctor):
    (silent,) = doctor("elixir 0.4", "drop schema realtime cascade")["trouble", "features"]
    mend = silent["command"].removeprefix('psql -c "').removesuffix('"')
    start = "select pgflow.create_flow('quiet'); select pgflow.start_flow('quiet', '{}')"
    assert ("trouble", "features") not in doctor("elixir 0.4", mend, start)


LOCAL = "set local app.settings.jwt_secret = 'super-secret-jwt-token-with-at-least-32-characters-long'"


def test_a_core_whose_queues_are_gone_or_old_is_told(doctor):
    aged = "alter type pgmq.message_record rename attribute headers to heads"
    (old,) = texts(doctor("0.14.1", aged), "trouble", "features")
    assert "older than 1.5.0" in old
    (gone,) = texts(doctor("0.14.1", "drop schema pgmq cascade"), "trouble", "features")
    assert "there is no pgmq" in gone


def test_a_core_that_takes_itself_for_a_development_database_is_told(doctor):
    (warned,) = texts(doctor("0.16.0", LOCAL), "warning", "features")
    assert "deletes the flow with all its runs" in warned


def test_beside_a_core_everything_is_examined_and_nothing_needs_a_person(doctor):
    findings = doctor("elixir 0.4", beside=True)
    assert not needs_a_person(findings)
    (_, ours) = texts(findings, "ok", "installation")
    assert "beside it, tables version" in ours
    (runs,) = texts(findings, "ok", "generations")
    assert runs == "whose workers can run here: Elixir from 0.4; pgflow-mp"
    assert texts(findings, "ok", "rows") == ["nothing is stuck, no message is orphaned"]


def test_what_is_stuck_in_a_foreign_core_is_told_and_repaired(call, foreign_dsn):
    dsn = foreign_dsn("0.17.1")
    with psycopg.connect(dsn, autocommit=True) as conn:
        install(conn)
        conn.execute("select pgflow.create_flow('stuck')")
        conn.execute("select pgflow.add_step('stuck', 'one')")
        conn.execute("select pgflow.start_flow('stuck', '{}')")
        conn.execute("delete from pgmq.q_stuck")
        conn.execute("insert into pgmq.q_stuck (vt, message) values (now(), '{}')")
    findings = found(call("doctor", "--dsn", dsn, "--json"))
    assert {(finding["text"], finding["command"]) for finding in findings["trouble", "rows"]} == {
        ("task without a message: 1 case in stuck", "pgflow-mp repair"),
        ("message without a task: 1 case", "pgflow-mp repair"),
    }
    assert call("repair", "--dsn", dsn).returncode == 0
    assert ("trouble", "rows") not in found(call("doctor", "--dsn", dsn, "--json"))


def test_what_an_old_core_leaves_of_failed_runs_needs_nobody(doctor):
    """core FT-10: tasks of a failed run stay as they are."""
    findings = doctor(
        "0.14.1",
        "select pgflow.create_flow('broken', max_attempts => 1)",
        "select pgflow.add_step('broken', 'left'), pgflow.add_step('broken', 'right')",
        "select pgflow.start_flow('broken', '{}')",
        "select pgflow.start_tasks('broken', '{1,2}', null)",
        "select pgflow.fail_task(run_id, 'left', 0, 'no') from pgflow.runs",
        beside=True,
    )
    assert not needs_a_person(findings)
    assert texts(findings, "note", "rows") == ["open task of an ended run: 1 case in broken, as this core leaves them"]


def test_what_is_stuck_is_told_before_pgflow_mp_is_there(doctor):
    findings = doctor(
        "elixir 0.4",
        "select pgflow.create_flow('stuck')",
        "select pgflow.add_step('stuck', 'one')",
        "select pgflow.start_flow('stuck', '{}')",
        "delete from pgmq.q_stuck",
        rows=True,
    )
    (stuck,) = findings["trouble", "rows"]
    assert stuck["text"] == "task without a message: 1 case in stuck"
    assert stuck["command"] == "pgflow-mp install && pgflow-mp repair"


def test_a_core_that_was_changed_since_is_told(doctor):
    findings = doctor("0.17.1", "alter table pgflow.runs add column note text", beside=True)
    (changed,) = findings["trouble", "installation"]
    assert "has now another form of that" in changed["text"]
    assert changed["command"] == "pgflow-mp install"
    assert ("trouble", "flows") not in findings


def test_functions_of_another_version_beside_a_core_are_told(doctor):
    findings = doctor("0.17.1", "update pgflow_mp.installed set content_hash = 'another'", beside=True)
    (finding,) = findings["warning", "installation"]
    assert finding["command"] == "pgflow-mp install"


def test_a_role_without_rights_is_told_what_was_not_examined(call, foreign_dsn):
    dsn = foreign_dsn("0.17.1")
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("create role doctor_tests_stranger login")
    try:
        theirs = psycopg.conninfo.make_conninfo(dsn, user="doctor_tests_stranger")
        findings = found(call("doctor", "--dsn", theirs, "--json"))
        assert texts(findings, "note", "slugs") == ["not examined: this role may not read flows and steps"]
        assert texts(findings, "note", "telemetry") == [
            "schema pgflow_telemetry is there; this role may not ask whether it is on"
        ]
        assert texts(findings, "note", "rows")[0].startswith("not examined: ")
        (grants,) = texts(findings, "trouble", "rights")
        assert grants.startswith("role doctor_tests_stranger may not install beside it; let the owner of the schema")
        assert "grant usage on schema" in grants
        assert texts(findings, "ok", "generations")
    finally:
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("drop role doctor_tests_stranger")
