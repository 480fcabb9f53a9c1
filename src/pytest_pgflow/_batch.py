"""Runs that were started together: working them off by either executor, and what became of them."""

from __future__ import annotations

from bdb import BdbQuit
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pgflow_mp.engine.workoff import WorkedOff, work_off
from pgflow_mp.errors import RunTimeout
from pgflow_mp.executors.base import Failed
from pgflow_mp.executors.inline import run_inline
from pgflow_mp.hooks.handling import HandlerHooks
from pytest_pgflow._pointing import without_machinery
from pytest_pgflow._results import FlowFailed, FlowRun, pruned, tell_failure, tell_timeout
from pytest_pgflow._settling import make_trouble
from pytest_pgflow._trouble import HungInline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    import psycopg

    from pgflow_mp.client import PgFlow
    from pgflow_mp.context import Services
    from pgflow_mp.core.queries.tasks import SkippedDelay
    from pgflow_mp.definition import FlowDefinition
    from pgflow_mp.executors.base import Outcome, TaskCall
    from pgflow_mp.hooks.manager import Plugins
    from pytest_pgflow._deadline import Deadline
    from pytest_pgflow._events import EventLog

# Raised in a handler, these are meant for pytest and not for the flow.
MEANT_FOR_PYTEST = (BdbQuit, pytest.exit.Exception, pytest.skip.Exception, pytest.xfail.Exception)
# These say that the test fails: trying the task again would only hide it.
VERDICTS = (AssertionError, pytest.fail.Exception)


class Batch:
    """Runs of one flow.

    Attributes:
        definition: The flow, with the doubles of the test.
        run_ids: The runs, in the order of their inputs.
    """

    def __init__(
        self,
        client: PgFlow,
        conn: psycopg.Connection[Any],
        definition: FlowDefinition,
        run_ids: Sequence[UUID],
        *,
        dsn: Callable[[], str],
        executor: str,
        processes: int,
        plugins: Plugins,
        log: EventLog,
    ) -> None:
        self.definition = definition
        self.run_ids = run_ids
        self._client = client
        self._conn = conn
        self._dsn = dsn
        self._executor = executor
        self._processes = processes
        self._plugins = plugins
        self._hooks = HandlerHooks.of(plugins)
        self._log = log
        self._skipped: list[SkippedDelay] = []
        self._errors: dict[tuple[UUID, str], BaseException] = {}

    def drive(self, deadline: Deadline, *, skip: bool, until: Callable[[], bool] | None = None) -> None:
        """Work the runs off to their end, or until `until` is true.

        Raises:
            RunTimeout: The deadline passed before that.
        """
        __tracebackhide__ = True
        worked_off = self._work_off(deadline, skip=skip, until=until)
        self._skipped += worked_off.skipped
        if not worked_off.finished:
            late = next((run for run in self._read() if not run.ended), None)
            if late is not None:
                raise RunTimeout(late.run_id, tell_timeout(late, deadline.seconds))

    def results(self, *, check: bool) -> list[FlowRun]:
        """Return the runs as they are now.

        Raises:
            FlowFailed: One of them failed, and `check` is true.
        """
        __tracebackhide__ = True
        runs = self._read()
        failed = next((run for run in runs if run.failed), None)
        if check and failed is not None:
            cause = self._errors.get((failed.run_id, failed.failed_step.slug)) if failed.failed_step else None
            raise FlowFailed(failed, tell_failure(failed, traceback=cause is None)) from cause
        return runs

    def _read(self) -> list[FlowRun]:
        runs = (self._client.get_run_with_states(run_id, conn=self._conn) for run_id in self.run_ids)
        return [FlowRun.of(run, self._skipped, self._log.of(run.run_id)) for run in runs]

    def _work_off(self, deadline: Deadline, *, skip: bool, until: Callable[[], bool] | None) -> WorkedOff:
        __tracebackhide__ = True
        if self._executor == "inline":
            return work_off(
                self._conn,
                [self.definition],
                self.run_ids,
                out_of_time=deadline.passed,
                until=until,
                skip=skip,
                run=lambda call, services: self._run_and_make_trouble(call, services, deadline),
                plugins=self._plugins,
                dsn=self._dsn,
            )
        from pytest_pgflow._process import work_off_in_processes

        return work_off_in_processes(
            self._dsn(),
            self._conn,
            self.definition,
            self.run_ids,
            processes=self._processes,
            out_of_time=deadline.passed,
            until=until,
            skip=skip,
            plugins=self._plugins,
        )

    def _run_and_make_trouble(self, call: TaskCall, services: Services, deadline: Deadline) -> Outcome:
        __tracebackhide__ = True
        outcome = self._run(call, services, deadline)
        make_trouble(self._conn, outcome)
        return outcome

    def _run(self, call: TaskCall, services: Services, deadline: Deadline) -> Outcome:
        """Run a handler in this thread, and look at how it ended with a test's eyes."""
        __tracebackhide__ = True
        outcome = run_inline(call, self._hooks, services)
        self._errors.pop((call.run_id, call.step.slug), None)
        if not isinstance(outcome, Failed):
            return outcome if outcome.seconds <= call.timeout or deadline.debugged() else _late(outcome)
        error = outcome.exception
        if isinstance(error, HungInline):
            return _late(outcome)
        if isinstance(error, MEANT_FOR_PYTEST):
            raise pruned(error)
        if error is not None and without_machinery(error.__traceback__):  # else it has no line of the handler to show
            self._errors[call.run_id, call.step.slug] = pruned(error)
        return replace(outcome, retryable=False) if isinstance(error, VERDICTS) else outcome


def _late(outcome: Outcome) -> Failed:
    """Fail a handler that took too long, as a process would have been ended; inline, nothing interrupts it."""
    call = outcome.call
    return Failed(call, f"Task timed out after {call.timeout:g}s", "timeout", seconds=outcome.seconds)
