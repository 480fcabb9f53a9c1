"""The picture that shows whether a schema was changed sees what must not happen, and nothing that may."""

from __future__ import annotations

import pytest

from tests.core import foreign


@pytest.fixture
def conn(foreign_db):
    return foreign_db("0.14.1")


def test_runs_and_tables_of_others_change_nothing(conn):
    before = foreign.catalog(conn)
    conn.execute("create schema pgflow_mp")
    conn.execute("create view pgflow_mp.core_runs as select * from pgflow.runs")
    conn.execute("insert into pgflow.flows (flow_slug) values ('quiet')")
    conn.execute("select pgflow.start_flow('quiet', '{}')")
    assert foreign.catalog(conn) == before


@pytest.mark.parametrize(
    "change",
    [
        "create table public.mine (run_id uuid references pgflow.runs on delete cascade)",
        "alter table pgflow.runs set (fillfactor = 70)",
        "alter table pgflow.flows add column queue_mode text",
        "create index on pgflow.runs (started_at)",
        "comment on table pgflow.runs is 'looked at'",
        "grant usage on schema pgflow to pg_monitor",
        "revoke execute on function pgflow.start_flow(text, jsonb, uuid) from public",
        "alter function pgflow.start_flow(text, jsonb, uuid) set work_mem = '1MB'",
        "alter table pgflow.step_tasks disable trigger all",
        "select pgmq.create('another')",
    ],
)
def test_every_change_of_an_object_shows(conn, change):
    before = foreign.catalog(conn)
    conn.execute(change)
    assert foreign.catalog(conn) != before
