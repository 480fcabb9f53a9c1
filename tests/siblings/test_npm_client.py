"""Real programs of the TypeScript family at 0.8.1, which npm has: the SQL client of its worker, and its client.

`PgflowSqlClient` runs with the real driver, with and without prepared statements. `PgflowClient` runs on the real
supabase-js; only what lies between that and the database is ours (js/platform.mjs), since neither PostgREST nor the
realtime server can be had from a registry.
"""

from __future__ import annotations

import uuid

import psycopg
import pytest

from pgflow_mp import PgFlow
from pgflow_mp.core.install import install
from tests.core.ask import rows, value
from tests.engine.harness import working

from .npm import connect, run, version_of
from .world import Greet

pytestmark = pytest.mark.npm

# Stands in for the hosted platform's event service (core 1.4): what it gets is told on a channel.
REALTIME = """
create schema realtime;
create function realtime.send(payload jsonb, event text, topic text, private boolean) returns void language sql as $$
  select pg_notify('realtime', jsonb_build_object('payload', payload, 'event', event, 'topic', topic)::text)
$$;
"""


def test_they_are_the_releases_that_ci_npm_names():
    assert [version_of(f"@pgflow/{name}") for name in ("core", "dsl", "client")] == ["0.8.1"] * 3


@pytest.mark.parametrize("prepare", [True, False], ids=["prepared", "not prepared"])
@pytest.mark.parametrize("queue", ["Greet", "greet"], ids=["slug as written", "lower case"])
def test_the_real_sql_client_starts_claims_completes_and_fails(pgflow_dsn, pgflow_conn, tmp_path, prepare, queue):
    """generations 8.1, 8.2, 8.3, 9.1."""
    with PgFlow(pgflow_dsn) as app:
        app.compile(Greet)
    pgflow_conn.execute("update pgflow.flows set opt_base_delay = 0")
    given = {
        "connect": connect(pgflow_dsn),
        "prepare": prepare,
        "flow": "Greet",
        "queue": queue,
        "polls": 6,
        "start": [["a", "b"], ["bad"], []],
    }
    told = run(tmp_path, "sql_client.mjs", given)
    # A falsy output goes as JSON null: what the client does, not the database (8.1).
    outputs = rows(pgflow_conn, "select status, output ->> 'join' from pgflow.runs order by 2")
    assert outputs == [("completed", joined) for joined in ("AB", "AB", "BAD", "BAD", None, None)]
    assert {each["run_id"] for each in told["runs"]} == {
        str(row[0]) for row in rows(pgflow_conn, "select run_id from pgflow.runs")
    }
    assert {each["status"] for each in told["runs"]} == {"started"}
    assert {each["input"] for each in told["tasks"] if each["step_slug"] == "upper"} == {"a", "b", "bad"}
    assert set(told["read"]) >= {"msg_id", "read_ct", "enqueued_at", "vt", "message"}
    assert set(told["tasks"][0]) >= {"flow_slug", "run_id", "step_slug", "input", "msg_id", "task_index"}
    assert value(pgflow_conn, "select count(*) from pgflow.step_tasks where attempts_count = 2") == 2
    assert value(pgflow_conn, "select count(*) from pgmq.q_greet") == 0


@pytest.fixture
def platform_dsn(empty_dsn):
    """A database of ours with an event service, and a role for callers as the hosted platform has it."""
    role = f"caller_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute(REALTIME)
        conn.execute(f"create role {role}")
        install(conn, client_roles=[role])
        # Its client reads the definition from the tables.
        conn.execute(f"grant select on pgflow.flows, pgflow.steps to {role}")
        yield empty_dsn, role
        conn.execute(f"drop owned by {role}")
        conn.execute(f"drop role {role}")


def test_the_real_client_starts_a_run_and_hears_of_all_that_our_worker_does(platform_dsn, tmp_path):
    """generations 8.1; core 7.0, 7.1, 7.3: names, topics and payloads as the client takes them apart."""
    dsn, role = platform_dsn
    run_id = str(uuid.uuid4())
    with PgFlow(dsn) as app:
        app.compile(Greet)
        with working(dsn, Greet):
            told = run(
                tmp_path,
                "client.mjs",
                {"connect": connect(dsn), "role": role, "flow": "Greet", "input": ["a", "b"], "run_id": run_id},
            )
        assert app.get_run(run_id).output == {"join": "AB"}
    assert [each["step_slug"] for each in told["definition"]["steps"]] == ["upper", "join"]
    assert told["definition"]["flow"]["opt_max_attempts"] == 3
    assert told["started"] == {"run_id": run_id, "status": "started", "remaining_steps": 2}
    assert told["output"] == told["again"] == {"join": "AB"}
    assert told["statuses"] == {"upper": "completed", "join": "completed"}
    assert told["events"][-1] == "run:completed"
    assert [each for each in told["events"] if "completed" in each] == [
        "step:completed upper",
        "step:completed join",
        "run:completed",
    ]
    assert "runs_flow_slug_fkey" in told["refused"]
