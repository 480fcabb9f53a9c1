"""Workers of this machine that are provably dead lose their tasks before their silence is long enough (D-3)."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
import uuid

import pytest

from pgflow_mp.client import PgFlow
from pgflow_mp.core.queries.tasks import claim_tasks
from pgflow_mp.core.queries.workers import register_workers
from pgflow_mp.core.statement import execute
from pgflow_mp.engine.announce import Announcer
from pgflow_mp.engine.host import this_process
from pgflow_mp.engine.link import Link
from pgflow_mp.engine.recovery import Recovery
from pgflow_mp.hooks.manager import Plugins
from pgflow_mp.hooks.observers import Direct
from tests.engine.flows import Marked

HERE = this_process()

pytestmark = pytest.mark.skipif(HERE.started is None, reason="the system does not tell when a process started")


def recover(dsn):
    async def main():
        link = Link(dsn, "test")
        await Recovery(link, HERE, Announcer(Direct(Plugins()))).recover()
        await link.close()

    asyncio.run(main())


@pytest.fixture
def claimed_by(pgflow_dsn, pgflow_conn):
    """Have a worker in some process claim the only task; return how to look at it."""

    def claim(process):
        with PgFlow(pgflow_dsn) as app:
            app.compile(Marked)
            app.start_flow(Marked)
        worker = {"marked": uuid.uuid4()}
        execute(pgflow_conn, register_workers(worker, function_name="x", process=process, version="x"))
        assert execute(pgflow_conn, claim_tasks(["marked"], [worker["marked"]], [1]))
        return lambda: pgflow_conn.execute("select status, attempts_count from pgflow.step_tasks").fetchone()

    return claim


def test_the_task_of_a_worker_whose_process_is_gone_is_free_at_once(claimed_by, pgflow_dsn):
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait(timeout=30)
    task = claimed_by(dataclasses.replace(HERE, pid=ended.pid))
    recover(pgflow_dsn)
    assert task() == ("queued", 0)


def test_the_task_of_a_worker_that_lives_stays_with_it(claimed_by, pgflow_dsn):
    task = claimed_by(HERE)
    recover(pgflow_dsn)
    assert task() == ("started", 1)


def test_the_task_of_a_silent_worker_elsewhere_waits_for_its_silence(claimed_by, pgflow_dsn):
    task = claimed_by(dataclasses.replace(HERE, boot_id="another machine", pid=2**22 - 1))
    recover(pgflow_dsn)
    assert task() == ("started", 1)
