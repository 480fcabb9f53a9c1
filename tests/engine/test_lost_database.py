"""Connections that break, fall silent, or go through a pooler: latency at most, never lost or doubled work."""

from __future__ import annotations

import asyncio
import socket
import time
import uuid

import psycopg
import pytest

from benchmarks.proxy import proxy
from pgflow_mp.client import PgFlow
from pgflow_mp.core.queries.tasks import TaskKey, claim_tasks, held_tasks
from pgflow_mp.core.queries.workers import register_workers
from pgflow_mp.core.statement import Statement, execute, nothing, value
from pgflow_mp.engine import claim, heartbeat, link, listen, reconcile
from pgflow_mp.engine.holding import Holding
from pgflow_mp.engine.host import this_process
from pgflow_mp.engine.link import LOST, Link
from tests.engine import flows
from tests.engine.harness import eventually, working


@pytest.fixture
def app(pgflow_dsn):
    with PgFlow(pgflow_dsn) as app:
        yield app


@pytest.fixture
def hasty(monkeypatch):
    """Deadlines in tenths of their length: what is tested is that they are kept."""
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.4)
    monkeypatch.setattr(listen, "CALL_SECONDS", 0.5)
    monkeypatch.setattr(listen, "ECHO_SECONDS", 0.5)
    monkeypatch.setattr(link, "STATEMENT_SECONDS", 2.0)
    monkeypatch.setattr("pgflow_mp.engine.worker.LONGEST_BEAT_SECONDS", 1.0)


def attempts(conn):
    return conn.execute("select distinct status, attempts_count from pgflow.step_tasks").fetchall()


def test_a_statement_on_a_silent_connection_ends_at_its_deadline_and_the_next_one_works(pgflow_dsn):
    one = Statement("select 1", (), value)

    async def main(silence) -> tuple[float, int]:
        here = Link(through.dsn, "test", seconds=0.5)
        assert await here.run(one) == 1
        silence()
        began = time.monotonic()
        with pytest.raises(LOST):
            await here.run(one)
        taken = time.monotonic() - began
        answer = await here.run(one)
        await here.close()
        return taken, answer

    with proxy(pgflow_dsn) as through:
        taken, answer = asyncio.run(main(through.silence))
    assert 0.4 < taken < 5
    assert answer == 1


def test_a_link_for_statements_keeps_no_notifications(pgflow_dsn):
    """Behind a pooler it may have a connection on which somebody else has said LISTEN."""

    async def kept(*, hears: bool) -> int:
        here = Link(pgflow_dsn, "test", hears=hears)
        for sql in ("listen noise", "notify noise", "select 1"):
            await here.run(Statement(sql, (), nothing))
        found = len((await here.connection())._notifies_backlog or ())
        await here.close()
        return found

    assert asyncio.run(kept(hears=True)) == 1
    assert asyncio.run(kept(hears=False)) == 0


def test_a_server_that_accepts_and_says_nothing_is_given_up(pgflow_dsn):
    async def main(port: int) -> None:
        here = Link(f"host=127.0.0.1 port={port} user=x dbname=x sslmode=disable", "test", seconds=0.5)
        with pytest.raises(LOST, match="did not let us in"):
            await here.run(Statement("select 1", (), value))

    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as mute:  # the kernel accepts, nobody speaks
        asyncio.run(main(mute.getsockname()[1]))
    assert time.monotonic() - began < 10


@pytest.mark.slow
def test_work_goes_on_after_all_connections_fell_silent(app, pgflow_dsn, pgflow_conn, hasty):
    """A half-open connection: nobody says that it is gone; every link finds out by its deadline."""
    app.compile(flows.Sums)
    with proxy(pgflow_dsn) as through, working(through.dsn, flows.Sums, poll_interval=0.2) as worker:
        assert app.start_flow_sync(flows.Sums, {"count": 2}, timeout=30).output == {"total": 1}
        before = through.accepted
        through.silence()
        runs = [app.start_flow(flows.Sums, {"count": 3}) for _ in range(5)]
        eventually(lambda: all(app.get_run(run).completed for run in runs))
        eventually(lambda: worker._listener.hears)
        assert through.accepted - before >= 3
    assert attempts(pgflow_conn) == [("completed", 1)]


def test_a_listen_connection_that_died_silently_is_noticed_and_replaced(app, pgflow_dsn, hasty, caplog):
    app.compile(flows.Sums)
    with (
        proxy(pgflow_dsn) as through,
        working(pgflow_dsn, flows.Sums, listen_dsn=through.dsn, poll_interval=0.2) as worker,
    ):
        eventually(lambda: worker._listener.hears)
        through.silence()
        assert app.start_flow_sync(flows.Sums, {"count": 3}, timeout=30).completed  # found by polling
        eventually(lambda: through.accepted == 2 and worker._listener.hears)
    assert "died without a word" in caplog.text


@pytest.mark.slow
def test_connections_that_are_cut_again_and_again_cost_no_result_and_no_second_attempt(
    app, pgflow_dsn, pgflow_conn, monkeypatch
):
    """In claims too: what a claim that broke off was given goes back (and is not stuck until its timeout)."""
    monkeypatch.setattr(reconcile, "LOOK_SECONDS", 0.5)
    app.compile(flows.Echo)
    with proxy(pgflow_dsn) as through, working(through.dsn, flows.Echo):
        runs = [app.start_flow(flows.Echo, list(range(40))) for _ in range(10)]
        for _ in range(15):
            through.cut()
            time.sleep(0.15)
        eventually(lambda: all(app.get_run(run).ended for run in runs))
    assert all(app.get_run(run).output == {"echo": list(range(40))} for run in runs)
    assert attempts(pgflow_conn) == [("completed", 1)]
    assert pgflow_conn.execute("select count(*) from pgmq.q_echo").fetchone() == (0,)


def test_tasks_of_a_claim_whose_answer_was_lost_go_back_with_their_attempt_unspent(
    app, pgflow_dsn, pgflow_conn, monkeypatch, caplog
):
    app.compile(flows.Echo)
    run = app.start_flow(flows.Echo, [1, 2, 3])
    genuine = Link.run
    lost = []

    async def losing(self, statement):
        answer = await genuine(self, statement)
        if "claim_tasks" in statement.sql and answer and not lost:
            lost.extend(answer)
            raise psycopg.OperationalError("the answer was lost")
        return answer

    monkeypatch.setattr(Link, "run", losing)
    with working(pgflow_dsn, flows.Echo):
        eventually(lambda: app.get_run(run).completed, seconds=15)
    assert lost
    assert "of a claim that broke off go back" in caplog.text
    assert attempts(pgflow_conn) == [("completed", 1)]


def test_a_return_that_is_repeated_leaves_alone_what_was_claimed_again_meanwhile():
    a, b = (TaskKey(None, "step", n, 1, None) for n in (1, 2))
    holding = Holding()
    holding.claimed([a, b])
    holding.returning([a, b])
    holding.claimed([a])  # the first return got through, its answer did not
    assert holding.still_returning([a, b]) == [b]
    holding.returned([a, b])
    assert a in holding
    assert b not in holding
    holding.settled([a])
    assert len(holding) == 0


@pytest.mark.slow
def test_a_refused_claim_is_tried_again_with_growing_pauses(app, pgflow_dsn, pgflow_conn, monkeypatch, caplog):
    """The sibling polls 1,250 times a second where its queue is missing (generations 2.6)."""
    app.compile(flows.Echo)
    tries = []
    answered = claim.Claimer._claim
    caplog.set_level("INFO", "pgflow_mp.claim")

    async def refused(self):
        tries.append(time.monotonic())
        raise psycopg.errors.UndefinedTable('relation "pgmq.q_echo" does not exist')

    monkeypatch.setattr(claim.Claimer, "_claim", refused)
    with working(pgflow_dsn, flows.Echo):
        time.sleep(2)
        assert 3 <= len(tries) <= 8
        monkeypatch.setattr(claim.Claimer, "_claim", answered)
        eventually(lambda: "claiming works again" in caplog.messages)
    assert caplog.messages.count("claiming works again") == 1


def test_a_worker_stops_at_once_although_the_database_is_away(app, pgflow_dsn, hasty, monkeypatch):
    monkeypatch.setattr("pgflow_mp.engine.departure.LAST_WORDS_SECONDS", 1.0)
    app.compile(flows.Echo)
    with proxy(pgflow_dsn) as through:
        with working(through.dsn, flows.Echo) as worker:
            eventually(lambda: worker.health().ok)
            through.refuse()
            through.cut()
            time.sleep(1.0)
            began = time.monotonic()
        assert time.monotonic() - began < 8


def test_health_is_an_answer_to_a_poll_within_the_last_30_seconds(app, pgflow_dsn, monkeypatch):
    app.compile(flows.Echo)
    with proxy(pgflow_dsn) as through, working(through.dsn, flows.Echo, poll_interval=0.1) as worker:
        eventually(lambda: worker.health().ok)
        assert worker.health().seconds < 30
        monkeypatch.setattr("pgflow_mp.engine.health.HEALTHY_SECONDS", 0.5)
        through.refuse()
        through.cut()
        eventually(lambda: not worker.health().ok)


@pytest.mark.slow
def test_a_worker_whose_children_are_all_busy_is_healthy(app, pgflow_dsn, pgflow_conn, monkeypatch, tmp_path):
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr("pgflow_mp.engine.health.HEALTHY_SECONDS", 1.0)
    app.compile(flows.Marked)
    marks = tmp_path / "marks"
    app.start_flow(flows.Marked, {"marks": str(marks), "seconds": 3})
    with working(pgflow_dsn, flows.Marked, processes=1) as worker:
        eventually(marks.exists)
        time.sleep(1.5)
        assert pgflow_conn.execute("select count(*) from pgflow.step_tasks where status = 'started'").fetchone() == (1,)
        assert worker.health().ok


def test_claimed_tasks_are_known_to_the_database_by_their_worker(app, pgflow_conn, pgflow_dsn):
    app.compile(flows.Echo)
    app.start_flow(flows.Echo, [1, 2])
    mine, other = uuid.uuid4(), uuid.uuid4()
    for each in (mine, other):
        execute(pgflow_conn, register_workers({"echo": each}, function_name="t", process=this_process(), version="t"))
    (task,) = execute(pgflow_conn, claim_tasks(["echo"], [mine], [1]))
    execute(pgflow_conn, claim_tasks(["echo"], [other], [1]))
    assert execute(pgflow_conn, held_tasks([mine])) == [TaskKey(task.run_id, "echo", task.task_index, 1, mine)]
