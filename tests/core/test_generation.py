"""Whose core a database has is found out in one round trip, without any right (generations 10)."""

from __future__ import annotations

import psycopg
import pytest

from pgflow_mp.core import generation
from pgflow_mp.core.install import install
from pgflow_mp.core.statement import execute
from tests.core import foreign


def look(conn):
    return execute(conn, generation.probe())


@pytest.fixture(params=foreign.EACH)
def name(request):
    return request.param


@pytest.fixture
def conn(foreign_db, name):
    return foreign_db(name)


# Built as: what it is taken for, and how it is served.
VERDICTS = {
    "0.8.1": ("typescript", "0.8", "views"),
    "0.14.1": ("typescript", "0.14", "views"),
    "0.15.0": ("typescript", "0.15.0", "views"),
    "0.15.1": ("typescript", "0.15.1", "views"),
    "0.16.0": ("typescript", "0.16.0", "views"),
    "0.17.0": ("typescript", "0.17.0", "sets"),
    "0.17.1": ("typescript", "0.17.1", "sets"),
    "elixir 0.3": ("elixir", "elixir 0.3", "views"),
    "elixir 0.4": ("elixir", "elixir 0.4", "sets"),
}


def test_each_generation_is_told_from_the_others(conn, name):
    core = look(conn)
    assert (core.made_by, core.generation, core.tier) == VERDICTS[name]
    assert core.reason is None
    assert core.realtime
    assert core.pgmq is not None
    assert core.pgmq.headers


def test_the_capabilities_are_those_of_the_generation(conn, name):
    core = look(conn)
    elixir, new = name.startswith("elixir"), name in ("0.17.0", "0.17.1", "elixir 0.4")
    assert core.hardened == (new or name in ("0.15.1", "0.16.0"))
    assert core.queue_identity == new
    assert core.step_queues == (name in ("0.17.0", "0.17.1"))
    assert core.conditions == (name != foreign.NPM)
    assert core.telemetry == (name == "0.17.1")
    assert core.has("flows", "flow_type") == elixir
    assert core.helper_version == {"elixir 0.3": 4, "elixir 0.4": 5}.get(name)
    assert core.core_version == (2 if name == "elixir 0.4" else None)
    assert core.strict_slugs == (name in ("0.17.0", "0.17.1"))
    assert core.cron != elixir
    assert not core.local


def test_a_role_without_any_right_sees_the_same_core(conn, name):
    mine = look(conn)
    conn.execute("create role nobody_at_all")
    conn.execute("set local role nobody_at_all")
    assert look(conn) == mine


def test_additions_of_people_change_no_fingerprint(conn, name):
    before = look(conn).fingerprint
    conn.execute("create table pgflow.my_notes (note text)")
    conn.execute("create function pgflow.prune_data_older_than(retention interval) returns void language sql as ''")
    conn.execute("set local search_path = pgflow, public")
    assert look(conn).fingerprint == before
    conn.execute("alter table pgflow.step_tasks add column note text")
    changed = look(conn)
    assert changed.fingerprint != before
    assert (changed.made_by, changed.generation, changed.tier) == VERDICTS[name]


def test_statuses_that_nobody_knows_are_not_served(conn, name):
    """generations 7.1: a later Elixir may bring the status waiting."""
    conn.execute("alter table pgflow.step_tasks drop constraint valid_status")
    conn.execute(
        "alter table pgflow.step_tasks add constraint valid_status "
        "check (status in ('queued', 'started', 'completed', 'failed', 'skipped', 'cancelled', 'waiting'))"
    )
    core = look(conn)
    assert core.tier is None
    assert "waiting" in core.reason


OLDER_COMPILE = """
drop function pgflow.ensure_flow_compiled(text, jsonb, boolean);
create function pgflow.ensure_flow_compiled(text, jsonb) returns jsonb language sql as 'select null::jsonb'
"""


def test_what_came_before_0_14_is_told_by_what_it_lacks(foreign_db):
    """core 8.2."""
    conn = foreign_db("0.14.1")
    names = []
    for taken in (
        "alter table pgflow.steps drop column when_unmet",
        "alter table pgflow.step_states drop column output",
        "alter type pgflow.step_task_record drop attribute flow_input",
        OLDER_COMPILE,
        "drop function pgflow.ensure_flow_compiled(text, jsonb)",
        "alter type pgflow.step_task_record drop attribute task_index",
    ):
        conn.execute(taken)
        core = look(conn)
        names.append(core.generation)
    assert names == ["0.13", "0.12", "0.11", "0.10", "0.8", None]
    assert core.tier is None
    assert "older than 0.8" in core.reason


def test_a_core_with_queues_and_without_helpers_is_one_that_was_never_released(foreign_db):
    """generations 0.1: the pin of Elixir, whose helpers are gone here."""
    conn = foreign_db("elixir 0.4")
    conn.execute("drop view pgflow.pgflow_version, pgflow.extensions_version")
    conn.execute("alter table pgflow.flows drop column flow_type")
    core = look(conn)
    assert (core.made_by, core.generation, core.tier) == ("typescript", "94490709", "sets")


def test_an_empty_database_is_nobodys(empty_dsn):
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        core = look(conn)
        assert (core.made_by, core.generation, core.tier, core.pgmq) == ("nobody", None, None, None)
        conn.execute("create schema pgflow")
        assert look(conn).made_by == "nobody"
        conn.execute("create table pgflow.runs (distance numeric)")  # somebody's, who counts kilometres
        core = look(conn)
        assert (core.made_by, core.generation, core.tier) == ("unknown", None, None)
        assert "table flows" in core.reason


def test_ours_is_ours(db):
    core = look(db)
    assert (core.made_by, core.generation, core.tier) == ("pgflow-mp", "superset", "own")
    assert core.claims == {4, 5}
    assert core.compiles == {2, 3, 4}
    assert core.tracks == {2}
    assert core.strict_slugs
    assert core.statuses == generation.STATUSES


def test_ours_is_ours_without_its_stamp(db):
    db.execute("comment on view pgflow.pgflow_version is null")
    assert look(db).made_by == "pgflow-mp"
    db.execute("drop table pgflow_mp.installed")
    core = look(db)
    assert (core.made_by, core.generation) == ("unknown", "superset")


def test_a_local_database_says_so(db):
    """core 3.3."""
    assert not look(db).local
    db.execute("set local app.settings.jwt_secret = 'super-secret-jwt-token-with-at-least-32-characters-long'")
    assert look(db).local


def test_a_core_without_a_claim_is_not_served(db):
    db.execute("comment on view pgflow.pgflow_version is null")
    db.execute("drop function pgflow.start_tasks(text, bigint[], uuid, text)")
    db.execute("drop function pgflow.start_tasks(text, bigint[], uuid, text, text)")
    core = look(db)
    assert (core.made_by, core.tier) == ("unknown", None)
    assert "start_tasks" in core.reason


def test_an_installation_leaves_the_probe_as_it_was(empty_dsn):
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        install(conn)
        first = look(conn)
        install(conn)
        assert look(conn) == first
