"""A foreign core that is changed under a running worker: said, waited out, mended by an install (generations 10)."""

import logging

import psycopg
import pytest

from pgflow_mp import Flow, NotInstalled, PgFlow, step
from pgflow_mp.core.install import install
from tests.engine.harness import eventually, working


class Slow(Flow):
    @step
    def wait(flow_input, ctx):
        import time

        time.sleep(flow_input)
        return flow_input


class Chain(Flow):
    @step
    def wait(flow_input):
        import time

        time.sleep(flow_input)
        return flow_input

    @step(depends_on=[wait])
    def then(wait):
        return wait


@pytest.fixture
def beside(foreign_dsn):
    """Our functions beside a core of 0.17.0."""
    dsn = foreign_dsn("0.17.0")
    install(dsn)
    with PgFlow(dsn) as app:
        app.compile(Slow)
    return dsn


@pytest.mark.slow
def test_a_worker_and_a_client_say_that_the_core_has_changed_and_go_on_when_it_is_mended(beside, caplog):
    caplog.set_level(logging.WARNING, "pgflow_mp")
    said = "had the TypeScript core, generation 0.17.0 when pgflow-mp was installed beside it, and has now"
    with (
        PgFlow(beside) as app,
        psycopg.connect(beside, autocommit=True) as conn,
        working(beside, Slow, processes=1, poll_interval=0.1),
    ):
        run_id = app.start_flow(Slow, 1.0)
        eventually(lambda: [task for task in app.get_run_with_states(run_id).steps["wait"].tasks if task.started_at])
        conn.execute("alter table pgflow.steps rename column queue_name to route")
        conn.execute("alter table pgflow.step_tasks rename column queue_name to route")
        eventually(lambda: "settling 1 tasks failed" in caplog.text)
        assert said in caplog.text
        assert "pgflow-mp install --dsn DSN" in caplog.text
        with pytest.raises(NotInstalled, match=said):
            app.start_flow(Slow, 0)
        (problem,) = app.health_check().problems
        assert said in problem
        conn.execute("alter table pgflow.step_tasks rename column route to queue_name")
        conn.execute("alter table pgflow.steps rename column route to queue_name")
        assert app.wait_for_run(run_id, timeout=20).output == {"wait": 1.0}
        assert app.health_check().problems == ()


def test_a_worker_tells_at_its_start_that_the_core_was_upgraded(beside, caplog):
    caplog.set_level(logging.WARNING, "pgflow_mp")
    with psycopg.connect(beside, autocommit=True) as conn:
        conn.execute("alter table pgflow.workers add column pgflow_version text")
    with working(beside, Slow, processes=1):
        eventually(lambda: "and has now the TypeScript core, generation 0.17.1" in caplog.text)
    assert any("was changed since" in line for line in install(beside))
    caplog.clear()
    with working(beside, Slow, processes=1) as worker:
        eventually(worker.ready.is_set)
    assert "0.17.0" not in caplog.text


@pytest.mark.slow
def test_a_core_that_gets_queues_for_tasks_costs_no_run(foreign_dsn, caplog):
    """From 0.16 to 0.17: a column that must be given, which functions made before know nothing of (generations 4.1)."""
    caplog.set_level(logging.WARNING, "pgflow_mp")
    dsn = foreign_dsn("0.16.0")
    install(dsn)
    with PgFlow(dsn) as app:
        app.compile(Chain)
    with (
        PgFlow(dsn) as app,
        psycopg.connect(dsn, autocommit=True) as conn,
        working(dsn, Chain, processes=1, poll_interval=0.1),
    ):
        run_id = app.start_flow(Chain, 3.0)
        eventually(lambda: [task for task in app.get_run_with_states(run_id).steps["wait"].tasks if task.started_at])
        for table in ("steps", "step_tasks"):
            conn.execute(f"alter table pgflow.{table} add column queue_name text not null default 'chain'")
            conn.execute(f"alter table pgflow.{table} alter column queue_name drop default")
        eventually(lambda: "settling 1 tasks failed" in caplog.text)
        with pytest.raises(NotInstalled, match=r"generation 0\.16\.0 when .*`pgflow-mp install --dsn DSN`"):
            app.start_flow(Chain, 0)
        install(dsn)
        assert app.wait_for_run(run_id, timeout=20).output == {"then": 3.0}
