"""health_check: what it finds, and what it makes of it."""

from __future__ import annotations

import os
import uuid

import pytest

from pgflow_mp import Flow, FlowNotFound, PgFlow, step
from pgflow_mp.core.queries.workers import Process, register_workers
from pgflow_mp.core.statement import execute


class Watched(Flow):
    """A flow with something in its queue."""

    @step
    def only(flow_input):
        return flow_input


@pytest.fixture
def app(pgflow_dsn):
    with PgFlow(pgflow_dsn) as app:
        app.compile(Watched)
        yield app


def add_worker(conn, silent=0, function="unit"):
    """A worker of ours that was last heard of so many seconds ago."""
    worker_id = uuid.uuid4()
    process = Process("here", os.getpid())
    execute(conn, register_workers({"watched": worker_id}, function_name=function, process=process, version="1.2.3"))
    conn.execute(
        "update pgflow.workers set last_heartbeat_at = now() - make_interval(secs => %s) where worker_id = %s",
        (silent, worker_id),
    )
    return worker_id


def test_a_database_without_anything_to_do_is_healthy(app):
    report = app.health_check()
    assert (report.status, report.ok, report.problems, report.workers) == ("healthy", True, (), ())
    assert report.installation.package_version
    assert report.installation.server_version[0].isdigit()
    (flow,) = report.flows
    assert (flow.slug, flow.live_workers, flow.ready, flow.invisible, flow.oldest_seconds) == ("watched", 0, 0, 0, None)


def test_queues_are_counted(app, pgflow_conn):
    app.start_flows(Watched, range(3))
    pgflow_conn.execute("update pgmq.q_watched set vt = now() + interval '1 hour' where msg_id = 1")
    (flow,) = app.health_check().flows
    assert (flow.ready, flow.invisible) == (2, 1)
    assert 0 <= flow.oldest_seconds < 60


def test_tasks_that_wait_without_a_worker_are_a_problem_until_one_lives(app, pgflow_conn):
    app.start_flow(Watched)
    assert app.health_check().ok, "it has only just come"
    pgflow_conn.execute("update pgmq.q_watched set vt = now() - interval '1 minute'")
    report = app.health_check()
    assert report.status == "degraded"
    assert "flow `watched`: 1 task waits, one for 6" in report.problems[0]
    add_worker(pgflow_conn)
    report = app.health_check()
    assert report.ok
    assert report.flows[0].live_workers == 1


def test_a_paused_flow_is_told_and_its_waiting_tasks_are_no_problem(app, pgflow_conn):
    app.start_flow(Watched)
    pgflow_conn.execute("update pgmq.q_watched set vt = now() - interval '1 minute'")
    app.pause_flow(Watched)
    report = app.health_check()
    assert report.ok
    assert [flow.paused_at for flow in report.flows] == [app.paused_flows()["watched"]]
    app.resume_flow("watched")
    assert app.health_check().flows[0].paused_at is None
    with pytest.raises(FlowNotFound, match="flow `nobody` is not in this database; nothing was changed"):
        app.pause_flow("nobody")


def test_workers_are_judged_by_their_silence(app, pgflow_conn):
    silences = {"live": 3, "stale": 45, "dead": 90}
    added = {add_worker(pgflow_conn, seconds): state for state, seconds in silences.items()}
    finishing, stopped = add_worker(pgflow_conn), add_worker(pgflow_conn)
    add_worker(pgflow_conn, 7200)
    pgflow_conn.execute("update pgflow.workers set deprecated_at = now() where worker_id = %s", (finishing,))
    pgflow_conn.execute("update pgflow.workers set stopped_at = now() where worker_id = %s", (stopped,))
    report = app.health_check()
    assert {worker.worker_id: worker.state for worker in report.workers} == added | {finishing: "finishing"}
    assert [worker.state for worker in report.live_workers] == ["live"]
    (live,) = report.live_workers
    assert (live.host, live.pid, live.version, live.queue_name) == ("here", os.getpid(), "1.2.3", "watched")
    assert 3 <= live.silent_seconds < 30


@pytest.mark.own_core
def test_a_worker_of_another_language_is_told_too(app, pgflow_conn):
    pgflow_conn.execute("select pgflow.register_worker(gen_random_uuid(), 'watched', 'elixir:Watched')")
    (worker,) = app.health_check().workers
    assert (worker.function_name, worker.host, worker.state) == ("elixir:Watched", None, "live")


def test_a_dropped_queue_is_a_problem(app, pgflow_conn):
    pgflow_conn.execute("drop table pgmq.q_watched")
    report = app.health_check()
    assert report.status == "degraded"
    assert "queue `watched` were dropped; `pgflow-mp compile`" in report.problems[0]


@pytest.mark.parametrize(("version", "advice"), [(0, "pgflow-mp install"), (99, "update the package")])
def test_tables_of_another_version_are_a_problem(app, pgflow_conn, version, advice):
    pgflow_conn.execute("update pgflow_mp.installed set version = %s", (version,))
    report = app.health_check()
    assert report.status == "degraded"
    assert advice in report.problems[0]


def test_functions_of_an_earlier_version_tell_less(app, pgflow_conn):
    pgflow_conn.execute("alter function pgflow_mp.installation() rename to of_now")
    pgflow_conn.execute(
        "create function pgflow_mp.installation() returns jsonb language sql as "
        "$$ select pgflow_mp.of_now() - array['mode', 'core', 'core_fingerprint'] || '{\"schema_version\": 8}' $$"
    )
    report = app.health_check()
    assert (report.status, report.installation.mode) == ("degraded", "own")
    assert "pgflow-mp install" in report.problems[0]


def test_a_database_without_pgflow_is_a_status(empty_dsn):
    with PgFlow(empty_dsn) as app:
        report = app.health_check()
    assert (report.status, report.ok, report.installation) == ("not_installed", False, None)
    assert "pgflow-mp install" in report.problems[0]


def test_a_database_that_does_not_answer_is_a_status_and_shows_no_password(tmp_path):
    with PgFlow(f"host={tmp_path} dbname=none password=secret") as app:
        report = app.health_check()
    assert report.status == "unreachable"
    assert "dbname=none" in report.problems[0]
    assert "secret" not in report.problems[0]
