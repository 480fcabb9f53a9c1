"""AsyncPgFlow: what is awaited, beyond what it shares with PgFlow (see `test_faces`)."""

from __future__ import annotations

import asyncio
import uuid

import psycopg
import pytest

from pgflow_mp import (
    AsyncPgFlow,
    Flow,
    FlowNotFound,
    InvalidRunId,
    NonRetryable,
    PgflowError,
    RunFailed,
    RunNotFound,
    RunTimeout,
    step,
)
from pgflow_mp.client import PgFlow
from pgflow_mp.engine import workoff
from tests.client.test_client import Greet, Lengths


class Refuse(Flow):
    """Fails for good."""

    @step
    def answer(flow_input):
        raise NonRetryable("no")


@pytest.fixture
def dsn(pgflow_dsn):
    with PgFlow(pgflow_dsn) as app:
        app.compile(Greet)
        app.compile(Refuse)
    return pgflow_dsn


def work_off(dsn, run_ids):
    with psycopg.connect(dsn, autocommit=True) as conn:
        assert workoff.work_off(
            conn, [Greet.definition, Refuse.definition], run_ids, out_of_time=lambda: False
        ).finished


def test_runs_are_started_and_read(dsn):
    async def application():
        async with AsyncPgFlow(dsn, flows=[Greet]) as app:
            run_id = await app.start_flow(Greet, {"name": "you"})
            assert (await app.get_run(str(run_id))).status == "started"
            await asyncio.to_thread(work_off, dsn, [run_id])
            return await app.get_run_with_states(run_id)

    run = asyncio.run(application())
    assert run.output == {"greeting": "hello you"}
    assert run.steps["greeting"].completed


def test_errors_are_those_of_the_blocking_face(dsn):
    async def application():
        async with AsyncPgFlow(dsn) as app:
            with pytest.raises(FlowNotFound, match="compile MODULE"):
                await app.start_flow(Lengths, [])
            with pytest.raises(RunNotFound):
                await app.get_run(uuid.uuid4())
            with pytest.raises(InvalidRunId):
                await app.get_run("seven")
            with pytest.raises(PgflowError, match="commit"):
                await app.start_flow_sync(Greet, conn=object())

    asyncio.run(application())


def test_a_hundred_calls_at_once_share_a_few_connections(dsn):
    async def application():
        async with AsyncPgFlow(dsn) as app:
            ids = await asyncio.gather(*(app.start_flow(Greet, {"name": str(n)}) for n in range(100)))
            return [(await app.get_run(run_id)).input["name"] for run_id in ids]

    assert asyncio.run(application()) == [str(n) for n in range(100)]


async def work_off_what_comes(dsn, count):
    """Work off the first `count` runs, as soon as there are so many."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        while len(ids := await (await conn.execute("select run_id from pgflow.runs")).fetchall()) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.to_thread(work_off, dsn, [run_id for (run_id,) in ids])


def test_waiting_calls_hear_of_the_end_and_the_loop_goes_on_meanwhile(dsn):
    """The poll interval is longer than the timeout: only the notification can end the waits."""

    async def application():
        async with AsyncPgFlow(dsn) as app:
            waits = (app.start_flow_sync(Greet, {"name": n}, timeout=20, poll_interval=60) for n in "abc")
            *runs, _ = await asyncio.gather(*waits, work_off_what_comes(dsn, 3))
            return runs

    assert [run.output["greeting"] for run in asyncio.run(application())] == ["hello a", "hello b", "hello c"]


def test_a_failed_run_is_raised_with_the_run(dsn):
    async def application():
        async with AsyncPgFlow(dsn) as app, asyncio.TaskGroup() as group:
            group.create_task(work_off_what_comes(dsn, 1))
            with pytest.raises(RunFailed, match="no") as failure:
                await app.start_flow_sync(Refuse, timeout=20)
            return failure.value.run

    assert asyncio.run(application()).failed_step.slug == "answer"


def test_a_wait_that_is_given_up_leaves_its_connection_usable(dsn):
    async def application():
        async with AsyncPgFlow(dsn) as app:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(app.start_flow_sync(Greet, {"name": "you"}), 0.3)
            with pytest.raises(RunTimeout):
                await app.start_flow_sync(Greet, {"name": "you"}, timeout=0.05)
            async with await psycopg.AsyncConnection.connect(dsn) as conn:
                found = await conn.execute(
                    "select count(*) from pg_stat_activity"
                    " where datname = current_database() and application_name = 'pgflow-mp wait'"
                )
                return await found.fetchone()

    assert asyncio.run(application()) == (1,)


def test_a_run_exists_if_and_only_if_the_callers_transaction_commits(dsn):
    async def application():
        async with AsyncPgFlow(dsn) as app, await psycopg.AsyncConnection.connect(dsn) as conn:
            lost = await app.start_flow(Greet, conn=conn)
            await conn.rollback()
            kept = await app.start_flow(Greet, conn=conn)
            with pytest.raises(RunNotFound):
                await app.get_run(kept)
            await conn.commit()
            with pytest.raises(RunNotFound):
                await app.get_run(lost)
            return (await app.get_run(kept)).status

    assert asyncio.run(application()) == "started"


def test_another_event_loop_is_refused_until_it_was_closed_in_the_first(dsn):
    app = AsyncPgFlow(dsn)

    async def use(*, then_close: bool) -> bool:
        exists = await app.flow_exists(Greet)
        if then_close:
            await app.close()
        return exists

    with asyncio.Runner() as first:
        assert first.run(use(then_close=False))
        with asyncio.Runner() as other, pytest.raises(PgflowError, match="another event loop"):
            other.run(use(then_close=False))
        assert first.run(use(then_close=True))
    assert asyncio.run(use(then_close=True))
