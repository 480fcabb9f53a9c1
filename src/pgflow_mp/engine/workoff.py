"""Work runs off here and now: one thread, one connection, no children, no loop.

The same statements as the worker's (claim, settle) and the same way from a claimed row to a call, driven one after
the other until the runs have ended. What a worker would wait for, a retry or a start delay, is skipped in the
database on request, and reported. It is what tests run on: handlers run in the thread that called `work_off`, so
breakpoints, monkeypatches and coverage work in them.
"""

from __future__ import annotations

import time
import uuid
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psycopg
from psycopg.conninfo import make_conninfo

import pgflow_mp
from pgflow_mp.connecting import sentence_of
from pgflow_mp.core.queries.carriers import leave_carriers
from pgflow_mp.core.queries.runs import get_run, get_run_inputs
from pgflow_mp.core.queries.tasks import (
    claim_tasks,
    give_back_tasks,
    lost_tasks,
    report_progress,
    settle_tasks,
    skip_delays,
)
from pgflow_mp.core.queries.workers import mark_workers_stopped, register_workers
from pgflow_mp.core.statement import execute
from pgflow_mp.engine.announce import Announcer, info_of
from pgflow_mp.engine.dispatch import Dispatch
from pgflow_mp.engine.errands import report_of
from pgflow_mp.engine.host import this_process
from pgflow_mp.engine.returning import key_of_call, key_of_claim
from pgflow_mp.engine.settle import left_by, settlement_of, usual_retry_delay
from pgflow_mp.executors.base import Failed
from pgflow_mp.executors.inline import run_inline
from pgflow_mp.executors.lending import AsyncLender, Lender
from pgflow_mp.executors.services import TaskServices
from pgflow_mp.hooks.deciders import RETRY_DELAY, retry_delay
from pgflow_mp.hooks.handling import HandlerHooks
from pgflow_mp.hooks.manager import no_plugins
from pgflow_mp.hooks.observers import Direct

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
    from uuid import UUID

    from pgflow_mp.context import Services
    from pgflow_mp.core.queries.tasks import SkippedDelay
    from pgflow_mp.core.statement import Statement
    from pgflow_mp.definition import FlowDefinition
    from pgflow_mp.engine.link import Link
    from pgflow_mp.executors.base import Outcome, TaskCall
    from pgflow_mp.hooks.manager import Plugins

T = TypeVar("T")

# Tasks claimed and settled in one round trip while all goes well: 10,000 elements of a map step take 200 of them.
MOST_TASKS = 50
# How long to wait where nothing can be claimed or skipped: someone else has the task, or its delay is waited for.
PAUSE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class WorkedOff:
    """How working off runs ended.

    Attributes:
        finished: Whether it did what it was asked; False when the time was up.
        skipped: The delays that were skipped, in order.
    """

    finished: bool
    skipped: tuple[SkippedDelay, ...]


def work_off(
    conn: psycopg.Connection[Any],
    flows: Sequence[FlowDefinition],
    run_ids: Sequence[UUID],
    *,
    out_of_time: Callable[[], bool],
    until: Callable[[], bool] | None = None,
    skip: bool = True,
    run: Callable[[TaskCall, Services], Outcome] | None = None,
    plugins: Plugins | None = None,
    dsn: Callable[[], str] | None = None,
) -> WorkedOff:
    """Run tasks of these runs until all of them have ended.

    Args:
        conn: A connection in autocommit mode; used by nobody else meanwhile.
        flows: The flows of the runs, with handlers.
        run_ids: The runs; tasks of others are not touched.
        out_of_time: Asked between tasks; a handler that hangs is not interrupted.
        until: Stop as soon as this is true; asked between tasks.
        skip: Skip delays in the database; otherwise wait for them.
        run: Runs one call, with what stands behind its context. An exception from it ends the work; the task is given
            back.
        plugins: Observers, called in this thread, and deciders. Child hooks too, unless `run` is given.
        dsn: Tells the database to handlers that are lent a connection; without it they get that of `conn`.
    """
    plugins = plugins or no_plugins()
    skipped: list[SkippedDelay] = []
    with _registered(conn, flows) as worker_ids:
        drive = _Drive(
            conn,
            flows,
            worker_ids,
            run_ids,
            run or _runner(plugins),
            plugins,
            most=1 if until else MOST_TASKS,
            dsn=dsn or partial(_dsn_of, conn),
        )
        with closing(drive.lender):
            while drive.open and not (until and until()):
                if out_of_time():
                    return WorkedOff(finished=False, skipped=tuple(skipped))
                if drive.work() or drive.ended_meanwhile():
                    continue
                found = execute(conn, skip_delays(drive.open)) if skip else []
                skipped += found
                if not found:
                    time.sleep(PAUSE_SECONDS)
    return WorkedOff(finished=True, skipped=tuple(skipped))


class _Drive:
    """The state of the work: the runs that are open, and how many tasks to claim at once."""

    def __init__(
        self,
        conn: psycopg.Connection[Any],
        flows: Sequence[FlowDefinition],
        worker_ids: Mapping[str, UUID],
        run_ids: Sequence[UUID],
        run: Callable[[TaskCall, Services], Outcome],
        plugins: Plugins,
        *,
        most: int,
        dsn: Callable[[], str],
    ) -> None:
        self._plugins = plugins
        self._announcer = Announcer(Direct(plugins))
        self._conn = conn
        self._worker_ids = worker_ids
        self._dispatch = Dispatch(
            cast("Link", _Direct(conn)),
            {flow.slug: flow for flow in flows},
            worker_ids,
            wants_carriers=plugins.wants_carriers,
        )
        self._run = run
        self.lender, self._async_lender = Lender(dsn), AsyncLender(_awaited(dsn))
        self._most = most
        self._quantity = 1
        self.open = list(run_ids)
        self.ended_meanwhile()

    def work(self) -> bool:
        """Claim tasks, run them and settle them; return whether there were any."""
        slugs, ids = list(self._worker_ids), list(self._worker_ids.values())
        began = time.monotonic()
        claimed = execute(self._conn, claim_tasks(slugs, ids, [self._quantity] * len(slugs), self.open))
        if claimed:
            keys = [key_of_claim(task, self._worker_ids[task.flow_slug]) for task in claimed]
            self._announcer.claimed(claimed, keys, time.monotonic() - began)
        calls, unknown = _at_once(self._dispatch.calls(claimed))
        if unknown:
            keys = [key_of_claim(task, self._worker_ids[task.flow_slug]) for task in unknown]
            execute(self._conn, give_back_tasks(keys, delay=1))
        fine = self._run_all(calls)
        # One at a time until it goes well: after a failure the rest of a batch may not be wanted any more.
        self._quantity = min(self._most, self._quantity * 2) if fine and len(calls) >= self._quantity else 1
        return bool(claimed)

    def ended_meanwhile(self) -> bool:
        """Look which runs have ended without a task of ours, by a skip or by someone else; return whether any."""
        before = len(self.open)
        self.open = [run_id for run_id in self.open if not self._has_ended(run_id)]
        return len(self.open) < before

    def _has_ended(self, run_id: UUID) -> bool:
        run = execute(self._conn, get_run(run_id))
        return run is None or run.ended

    def _run_all(self, calls: Sequence[TaskCall]) -> bool:
        """Run the calls up to the first failure, settle what ran, give the rest back; return whether all went well."""
        outcomes: list[Outcome] = []
        try:
            for call in calls:
                self._announcer.call_started(call)
                outcomes.append(self._decided(self._run(call, self._services_of(call))))
                if isinstance(outcomes[-1], Failed):
                    break
        finally:
            self._settle(outcomes)
            rest = [key_of_call(call) for call in calls[len(outcomes) :]]
            if rest:
                execute(self._conn, give_back_tasks(rest))
        return not rest and not any(isinstance(outcome, Failed) for outcome in outcomes)

    def _services_of(self, call: TaskCall) -> Services:
        """Return services that use our connection, which is idle while a handler runs; it lends others."""

        def report(fraction: float | None, message: str | None) -> None:
            with suppress(psycopg.Error):
                execute(self._conn, report_progress([report_of(call, fraction, message)]))

        def ask() -> bytes:
            return execute(self._conn, get_run_inputs([call.run_id])).get(call.run_id, b"null")

        def cancelled() -> bool:
            return bool(execute(self._conn, lost_tasks([key_of_call(call)])))

        return TaskServices(self.lender, self._async_lender, report, ask, call.flow_input, cancelled)

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        """Settle together; where the database refuses, apart, so that the one to blame fails alone (D-6)."""
        if not outcomes:
            return
        began = time.monotonic()
        settlements = [settlement_of(outcome) for outcome in outcomes]
        left = left_by(outcomes)
        if left:
            execute(self._conn, leave_carriers(left))
        try:
            settled = execute(self._conn, settle_tasks(settlements, observed=self._announcer.wants_details))
        except psycopg.DataError as error:
            for outcome in outcomes:
                self._settle([_refused(outcome, error) if len(outcomes) == 1 else outcome])
        else:
            self._announcer.settled(outcomes, settled, time.monotonic() - began)
            ended = {each.run_id for each in settled if each.run_status in ("completed", "failed")}
            self.open = [run_id for run_id in self.open if run_id not in ended]

    def _decided(self, outcome: Outcome) -> Outcome:
        """Ask the plugins how long a failed task shall wait; here nothing else waits for their answer."""
        if not isinstance(outcome, Failed) or not outcome.retryable or not self._plugins.implementations(RETRY_DELAY):
            return outcome
        delay = retry_delay(
            self._plugins,
            task=info_of(outcome.call),
            error=outcome.error,
            reason=outcome.reason,
            delay=usual_retry_delay(outcome.call),
        )
        return replace(outcome, retry_delay=delay)


def _dsn_of(conn: psycopg.Connection[Any]) -> str:
    return make_conninfo(conn.info.dsn, password=conn.info.password or None)


def _awaited(dsn: Callable[[], str]) -> Callable[[], Coroutine[Any, Any, str]]:
    async def found() -> str:
        return dsn()

    return found


def _runner(plugins: Plugins) -> Callable[[TaskCall, Services], Outcome]:
    hooks = HandlerHooks.of(plugins)
    return lambda call, services: run_inline(call, hooks, services)


def _refused(outcome: Outcome, error: psycopg.Error) -> Failed:
    if isinstance(outcome, Failed):
        raise error
    text = f"The database refused the output of step {outcome.call.step.slug!r}: {sentence_of(error)}"
    return Failed(outcome.call, text, "output", seconds=outcome.seconds)


class _Direct:
    """Stands in for a `Link` where the connection is a synchronous one."""

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self._conn = conn

    async def run(self, statement: Statement[T]) -> T:
        return execute(self._conn, statement)


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never waits: with `_Direct` nothing in it does."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast("T", stop.value)
    coroutine.close()
    raise RuntimeError("a coroutine without a loop waited")


@contextmanager
def _registered(conn: psycopg.Connection[Any], flows: Sequence[FlowDefinition]) -> Iterator[Mapping[str, UUID]]:
    """Have worker rows for the flows meanwhile: a claim refers to one (core 3.13.2)."""
    worker_ids = {flow.slug: uuid.uuid4() for flow in flows}
    execute(
        conn,
        register_workers(
            worker_ids, function_name="pgflow-mp inline", process=this_process(), version=pgflow_mp.__version__
        ),
    )
    try:
        yield worker_ids
    finally:
        if not conn.closed:
            execute(conn, mark_workers_stopped(list(worker_ids.values())))
