"""Runs in real processes, while the test waits: the production worker in a thread with an event loop of its own.

The thread has nothing to do with the test's event loop, if there is one, so it works in async tests too. The
test's thread looks whether the runs have ended, skips delays meanwhile, and holds the deadline: a worker that is
late is stopped, and its children are ended.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pgflow_mp.connecting import connect
from pgflow_mp.core.queries.runs import get_run
from pgflow_mp.core.queries.tasks import skip_delays
from pgflow_mp.core.statement import execute
from pgflow_mp.engine.worker import Worker
from pgflow_mp.engine.workoff import WorkedOff
from pgflow_mp.executors.base import Failed
from pytest_pgflow._rewriting import PRELOAD, tell_children
from pytest_pgflow._settling import is_troubled, make_trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    import psycopg

    from pgflow_mp.core.queries.tasks import SkippedDelay
    from pgflow_mp.definition import FlowDefinition
    from pgflow_mp.executors.base import Outcome
    from pgflow_mp.hooks.manager import Plugins

LOOK_SECONDS = 0.01
# A worker that was told twice to stop has nothing to wait for but its children's end.
STOP_SECONDS = 20.0


def work_off_in_processes(
    dsn: str,
    conn: psycopg.Connection[Any],
    flow: FlowDefinition,
    run_ids: Sequence[UUID],
    *,
    processes: int,
    out_of_time: Callable[[], bool],
    until: Callable[[], bool] | None = None,
    skip: bool = True,
    plugins: Plugins,
) -> WorkedOff:
    """Run tasks of these runs in child processes until they have ended; as `pgflow_mp.engine.workoff.work_off`."""
    tell_children()
    skipped: list[SkippedDelay] = []
    left = list(run_ids)
    with _working(dsn, flow, run_ids, processes, plugins) as failure:
        while True:
            while left and _has_ended(conn, left[0]):
                del left[0]
            if not left or (until and until()):
                return WorkedOff(finished=True, skipped=tuple(skipped))
            if failure:
                raise failure[0]
            if out_of_time():
                return WorkedOff(finished=False, skipped=tuple(skipped))
            if skip:
                found = execute(conn, skip_delays(left))
                skipped += found
            time.sleep(LOOK_SECONDS)


def _has_ended(conn: psycopg.Connection[Any], run_id: UUID) -> bool:
    run = execute(conn, get_run(run_id))
    return run is None or run.ended


@contextmanager
def _working(
    dsn: str, flow: FlowDefinition, run_ids: Sequence[UUID], processes: int, plugins: Plugins
) -> Iterator[list[BaseException]]:
    """Have a worker for the flow meanwhile; the list gets the error that ended it, if one did."""
    failure: list[BaseException] = []
    started = threading.Event()
    stop: list[Callable[[], object]] = []

    async def work() -> None:
        worker = Worker(
            dsn, [flow], processes=processes, only_runs=run_ids, amend=amend, plugins=plugins, preload=PRELOAD
        )
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(_stop_now, worker))
        started.set()
        await worker.run()

    def amend(outcome: Outcome) -> Outcome:
        amended = final_verdicts(outcome)
        if is_troubled(outcome.call):
            with connect(dsn, purpose="tests") as conn:
                make_trouble(conn, amended)
        return amended

    def target() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            failure.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=target, name="pgflow-test-worker", daemon=True)
    thread.start()
    started.wait()
    try:
        yield failure
    finally:
        if stop and thread.is_alive():
            stop[0]()
        thread.join(STOP_SECONDS)


def _stop_now(worker: Worker) -> None:
    """Stop without grace: what still runs is of a run that has ended, or late."""
    worker.stop()
    worker.stop()


def final_verdicts(outcome: Outcome) -> Outcome:
    """Never try again what failed by an assertion: the test has failed, and a retry would only hide it."""
    if isinstance(outcome, Failed) and outcome.reason == "raised" and outcome.error.startswith("AssertionError"):
        return replace(outcome, retryable=False)
    return outcome
