"""One bad result never costs its neighbours (D-6), and an unknown outcome is settled again (D-5)."""

from __future__ import annotations

import dataclasses

import pytest

from pgflow_mp.client import PgFlow
from pgflow_mp.executors.base import Completed
from tests.engine import flows
from tests.engine.harness import eventually, working

REFUSE_POISON = """
create function refuse_poison() returns trigger language plpgsql as $$
begin
  raise exception sqlstate '22000' using message = 'poison is not stored here';
end $$;
create trigger refuse_poison before update on pgflow.step_tasks
for each row when (new.output = '"poison"') execute function refuse_poison();
"""

KILL_AT_WORK = """
select count(pg_terminate_backend(pid)) from pg_stat_activity
where datname = current_database()
  and application_name in ('pgflow-mp settle', 'pgflow-mp claim')
  and state = 'active'
"""


@pytest.fixture
def app(pgflow_dsn):
    with PgFlow(pgflow_dsn) as app:
        yield app


def test_an_output_that_the_database_refuses_fails_its_own_task_with_the_reason(app, pgflow_dsn, pgflow_conn):
    app.compile(flows.Echo)
    pgflow_conn.execute(REFUSE_POISON)
    good = app.start_flows(flows.Echo, [[n] for n in range(40)])
    bad = app.start_flow(flows.Echo, ["poison"])
    good += app.start_flows(flows.Echo, [[n] for n in range(40)])
    with working(pgflow_dsn, flows.Echo):
        eventually(lambda: app.get_run(bad).failed)
        eventually(lambda: all(app.get_run(run_id).completed for run_id in good))
    error = app.get_run_with_states(bad).steps["echo"].error
    assert error == "The outcome could not be stored: poison is not stored here"


@pytest.mark.slow
def test_results_are_kept_and_settled_when_the_database_is_back(app, pgflow_dsn, pgflow_conn):
    """Connections that claim and settle are killed at work while five hundred results come in."""
    app.compile(flows.Echo)
    killed = 0
    with working(pgflow_dsn, flows.Echo):
        run_id = app.start_flow(flows.Echo, list(range(500)))
        while killed < 6 and not app.get_run(run_id).ended:
            killed += pgflow_conn.execute(KILL_AT_WORK).fetchone()[0]
            pgflow_conn.execute("select pg_sleep(0.01)")
        eventually(lambda: app.get_run(run_id).ended, seconds=60)
    assert killed
    assert app.get_run(run_id).output == {"echo": list(range(500))}
    assert pgflow_conn.execute("select count(*) from pgmq.q_echo").fetchone() == (0,)


def beyond_jsonb(outcome):
    """Put more than the 256 MB of a jsonb string where the handler returned "huge"; children refuse it long before."""
    if isinstance(outcome, Completed) and outcome.output == '"huge"':
        return dataclasses.replace(outcome, output='"' + "x" * (257 << 20) + '"')
    return outcome


@pytest.mark.slow
def test_a_limit_of_postgres_is_not_taken_for_a_lost_connection(app, pgflow_dsn):
    """SQLSTATE 54000 is an OperationalError to psycopg, but the same batch would be refused for ever (D-6)."""
    app.compile(flows.Echo)
    with working(pgflow_dsn, flows.Echo, amend=beyond_jsonb):
        huge = app.start_flow(flows.Echo, ["huge"])
        eventually(lambda: app.get_run(huge).failed, seconds=90)
        assert app.start_flow_sync(flows.Echo, [1], timeout=30).completed
    error = app.get_run_with_states(huge).steps["echo"].error
    assert error.startswith("The database refused the output of step 'echo': string too long")
