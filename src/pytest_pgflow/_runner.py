"""`flow_runner`: runs a flow to its end in a test, on the real engine and a real database.

Inline, handlers run in the test's own thread: breakpoints, monkeypatches, coverage and log capture work in them.
In real processes, a worker runs beside the test, with pickling, timeouts and crashes as in production.
Either way a run takes as long as its handlers do: delays are skipped in the database, and there is a deadline.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pgflow_mp.client import PgFlow
from pgflow_mp.client.moments import checked_moment
from pgflow_mp.core.queries.runs import open_runs
from pgflow_mp.core.statement import execute
from pgflow_mp.flow import as_definition
from pgflow_mp.hooks.manager import no_plugins
from pytest_pgflow._alone import ABSENT, run_step
from pytest_pgflow._batch import Batch
from pytest_pgflow._deadline import Deadline
from pytest_pgflow._doubles import with_doubles, with_doubles_of_each
from pytest_pgflow._events import EventLog
from pytest_pgflow._marker import read_markers
from pytest_pgflow._options import checked, settle
from pytest_pgflow._pointing import pointing
from pytest_pgflow._results import FlowRun
from pytest_pgflow._session import DEBUGGED
from pytest_pgflow._spares import SPARES, Spares
from pytest_pgflow._started import StartedRun
from pytest_pgflow._travel import Clock, Journey, destination

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta
    from uuid import UUID

    import psycopg

    from pgflow_mp.definition import FlowDefinition
    from pgflow_mp.flow import Flow
    from pgflow_mp.hooks.manager import Plugins
    from pytest_pgflow._handing_on import HandedOn
    from pytest_pgflow._session import Node

logger = logging.getLogger("pytest_pgflow")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where a call of the runner says nothing."""

    executor: str = "inline"
    timeout: float = 10.0
    skip_delays: bool = True
    processes: int = 2


class FlowRunner:
    """Runs flows on one database; the fixture `flow_runner` provides it.

    Args:
        dsn: The database, with pgflow installed.
        defaults: What holds where a call says nothing.
        debugged: Whether a debugger was used in this test; deadlines do not count then.
        spares: Where its connection comes from and goes to.
        handed_on: The database, where it may go to another test afterwards.

    Attributes:
        plugins: Plugins for the calls that follow: modules, objects or names. A test has no others: those that are
            installed are left out.
    """

    def __init__(
        self,
        dsn: str,
        defaults: Defaults | None = None,
        *,
        debugged: Callable[[], bool] = lambda: False,
        spares: Spares | None = None,
        handed_on: HandedOn | None = None,
    ) -> None:
        self._dsn = dsn
        self._handed_on = handed_on
        self._spares = spares or Spares()
        self._defaults = defaults or Defaults()
        self._debugged = debugged
        self.plugins: list[object] = []
        self._log = EventLog()
        self._client = PgFlow(dsn, plugins=no_plugins())
        self._compiled: dict[str, FlowDefinition] = {}
        self._time: Clock | None = None
        self._connection: psycopg.Connection[Any] | None = None

    @property
    def dsn(self) -> str:
        """The database; who asks may look into it, so it is the test's alone from now on."""
        if self._handed_on:
            self._handed_on.show()
        return self._dsn

    @pointing
    def run(
        self,
        flow: type[Flow] | FlowDefinition,
        input: Any = None,  # noqa: A002 - the contract's word
        *,
        timeout: float | None = None,
        check: bool = True,
        executor: str | None = None,
        skip_delays: bool | None = None,
        replace: Mapping[str, Any] | None = None,
    ) -> FlowRun:
        """Start one run and work it off.

        Args:
            flow: The flow class or its definition; compiled into the database if need be.
            input: A JSON value; `{}` by default.
            timeout: Seconds that the run may take.
            check: Raise when the run fails; otherwise a failed run is returned like any other.
            executor: ``inline`` or ``process``.
            skip_delays: Skip retry and start delays in the database, or wait for them.
            replace: Doubles by step: a fixed output, a function, an exception, or `fails(...)`.

        Raises:
            FlowFailed: The run failed, and `check` is true; an AssertionError with the run in `.run`.
            RunTimeout: The run did not end in time.
            StepNotFound: `replace` names a step that the flow does not have.
            InvalidInput: The input is no JSON, or not what the flow takes.
        """
        __tracebackhide__ = True
        started = self.start(flow, input, executor=executor, replace=replace)
        return started.drain(timeout=timeout, check=check, skip_delays=skip_delays)

    @pointing
    def run_many(
        self,
        flow: type[Flow] | FlowDefinition,
        inputs: Sequence[Any],
        *,
        timeout: float | None = None,
        check: bool = True,
        executor: str | None = None,
        skip_delays: bool | None = None,
        replace: Mapping[str, Any] | None = None,
    ) -> list[FlowRun]:
        """Start one run for each input, all at once, and work them off together; return them in order.

        Args and errors are those of `run`; the timeout is for all of them, and the first failed run is raised.
        """
        __tracebackhide__ = True
        batch = self._start(flow, inputs, executor, replace)
        batch.drive(self.deadline(timeout), skip=self.skips(skip_delays))
        return batch.results(check=check)

    @pointing
    def start(
        self,
        flow: type[Flow] | FlowDefinition,
        input: Any = None,  # noqa: A002 - the contract's word
        *,
        executor: str | None = None,
        replace: Mapping[str, Any] | None = None,
    ) -> StartedRun:
        """Start one run and leave it there; `drain` or `advance` of what is returned work it off.

        Args and errors are those of `run`.
        """
        __tracebackhide__ = True
        return StartedRun(self, self._start(flow, [input], executor, replace))

    @pointing
    def drain(
        self,
        *flows: type[Flow] | FlowDefinition,
        timeout: float | None = None,
        check: bool = True,
        executor: str | None = None,
        skip_delays: bool | None = None,
        replace: Mapping[str, Any] | None = None,
    ) -> list[FlowRun]:
        """Work off all open runs of some flows or jobs, whoever started them, and those that these start on the way.

        For code under test that starts or enqueues runs by itself: scheduled ones are open too, and their delay is
        skipped like any other.

        Args:
            *flows: The flows and jobs, as they are compiled in the test's database.
            timeout: Seconds that all of it may take.
            check: Raise for the first failed run; otherwise failed runs are returned like others.
            executor: ``inline`` or ``process``.
            skip_delays: Skip delays in the database, or wait for them.
            replace: Doubles by step; each flow takes those of its own steps.

        Returns:
            The runs, in the order in which they were worked off: those that were found first, then those they started.

        Raises:
            FlowFailed, RunTimeout, StepNotFound: As for `run`.
        """
        __tracebackhide__ = True
        definitions = with_doubles_of_each([as_definition(flow) for flow in flows], replace)
        deadline, skip, done = self.deadline(timeout), self.skips(skip_delays), []
        while found := [(flow, ids) for flow in definitions if (ids := self._open_runs(flow.slug))]:
            for flow, ids in found:
                batch = self._batch(flow, ids, executor, self._log.heard_by(self.plugins))
                batch.drive(deadline, skip=skip)
                done += batch.results(check=check)
        return done

    @pointing
    def freeze(self, at: datetime, *flows: type[Flow] | FlowDefinition) -> None:
        """Let time stand still for schedules, and for what is enqueued for later, in the test's database.

        Schedules begin at this time. Handlers and the times in tables keep the real time.

        Args:
            at: The time, with a zone; earlier or later than it really is.
            *flows: Flows and jobs to compile then; `travel` works their runs off, like those of all flows that this
                runner has run.

        Raises:
            InvalidSchedule: The time has no zone.
            PgflowError: The role may not replace our functions in this database.
        """
        self._clock().set(checked_moment(at, "at"))
        for flow in flows:
            self._compile(as_definition(flow))

    @pointing
    def travel(
        self,
        *,
        to: datetime | None = None,
        by: timedelta | float | None = None,
        downtime: bool = False,
        timeout: float | None = None,
        check: bool = True,
        executor: str | None = None,
        replace: Mapping[str, Any] | None = None,
    ) -> list[FlowRun]:
        """Let time pass without waiting for it: every schedule ticks at its times, and what was enqueued for then runs.

        Time stands still before and after; without `freeze` it does so from now on.

        Args:
            to: The time to arrive at, with a zone.
            by: Or how far to go: a timedelta or seconds.
            downtime: No worker is there on the way: what was missed is caught up at the end, by each schedule's policy.
            timeout: Seconds that all of it may take, in real time.
            check: Raise for the first failed run; otherwise failed runs are returned like others.
            executor: ``inline`` or ``process``.
            replace: Doubles by step; each flow takes those of its own steps.

        Returns:
            The runs in order of time, each with `tick_at` where a schedule started it. Runs of flows that this runner
            has not compiled are only started.

        Raises:
            FlowFailed, RunTimeout, StepNotFound: As for `run`.
            InvalidSchedule: The time has no zone, or lies behind.
            TimeoutError: The time was up on the way.
        """
        __tracebackhide__ = True
        clock, deadline = self._clock(), self.deadline(timeout)
        known = with_doubles_of_each(list(self._compiled.values()), replace)
        flows = {flow.slug: flow for flow in known}

        def work_off(slug: str, run_ids: Sequence[UUID]) -> list[FlowRun]:
            __tracebackhide__ = True
            batch = self._batch(flows[slug], run_ids, executor, self._log.heard_by(self.plugins))
            batch.drive(deadline, skip=True)
            return batch.results(check=check)

        def look(run_id: UUID) -> FlowRun:
            return FlowRun.of(self._client.get_run_with_states(run_id, conn=self._conn()))

        journey = Journey(self._conn(), clock, flows.keys(), work_off, look, deadline.passed)
        return journey.go(destination(clock.now, to, by), at_once=downtime)

    @pointing
    def step(
        self,
        flow: type[Flow] | FlowDefinition,
        slug: str,
        /,
        *,
        flow_input: Any = ABSENT,
        item: Any = ABSENT,
        ctx: Mapping[str, Any] | None = None,
        **outputs: Any,
    ) -> Any:
        """Run the handler of one step alone, here, and return its output: ``step(Order, "charge", validate={...})``.

        Nothing is written to the database. Input and output take the way through JSON, as those of a task do.

        Args:
            flow: The flow class or its definition.
            slug: The step.
            flow_input: What the run was started with, if the handler asks for it; `{}` by default.
            item: The element, for a map step.
            ctx: What the context says differently: run_id, task_index, attempt, timeout.
            outputs: The outputs of the steps that it depends on; leave one out to have it skipped.

        Raises:
            StepNotFound: The flow has no such step.
            InvalidInput: A value is missing, is none of the step's, or is no JSON.
            OutputError: What it returned is no JSON.
            BaseException: Whatever the handler raises.
        """
        __tracebackhide__ = True
        return run_step(
            as_definition(flow), slug, outputs, flow_input=flow_input, item=item, ctx=ctx, dsn=lambda: self.dsn
        )

    def close(self) -> None:
        """End the connections."""
        self._client.close()
        self._log.close()
        if self._connection is not None:
            if self._time is not None:
                self._clock().restore()
            self._spares.give(self._dsn, self._connection)

    def deadline(self, timeout: float | None) -> Deadline:
        """Start the clock of a call with this timeout in seconds."""
        return Deadline(self._defaults.timeout if timeout is None else checked("timeout", timeout), self._debugged)

    def skips(self, skip_delays: bool | None) -> bool:  # noqa: FBT001 - as the call had it
        """Whether a call with this argument skips delays."""
        return self._defaults.skip_delays if skip_delays is None else skip_delays

    def _start(
        self,
        flow: type[Flow] | FlowDefinition,
        inputs: Sequence[Any],
        executor: str | None,
        doubles: Mapping[str, Any] | None,
    ) -> Batch:
        __tracebackhide__ = True
        self._compile(as_definition(flow))
        inputs = [{} if value is None else value for value in inputs]
        plugins = self._log.heard_by(self.plugins)
        definition = with_doubles(as_definition(flow), doubles)
        run_ids = PgFlow(self._dsn, plugins=plugins).start_flows(definition, inputs, conn=self._conn())
        return self._batch(definition, run_ids, executor, plugins)

    def _batch(
        self,
        definition: FlowDefinition,
        run_ids: Sequence[UUID],
        executor: str | None,
        plugins: Plugins,
    ) -> Batch:
        chosen = checked("executor", executor) if executor else self._defaults.executor
        processes = self._defaults.processes
        return Batch(
            self._client,
            self._conn(),
            definition,
            run_ids,
            dsn=lambda: self.dsn,
            executor=chosen,
            processes=processes,
            plugins=plugins,
            log=self._log,
        )

    def _open_runs(self, slug: str) -> list[UUID]:
        return execute(self._conn(), open_runs(slug))

    def _compile(self, definition: FlowDefinition) -> None:
        """Make the flow in the database; a test's database follows the code (D-17)."""
        self._compiled[definition.slug] = definition
        if self._handed_on and self._handed_on.has(definition):
            return
        is_of_another_test = self._handed_on is not None and self._handed_on.left_by_another_test(definition.slug)
        compiled = self._client.compile(definition, recompile=True, conn=self._conn())
        if compiled.options_left:  # beside somebody else's core they are set where a flow is made, and only there
            self._client.delete_flow(definition, conn=self._conn())
            compiled = self._client.compile(definition, conn=self._conn())
        if self._handed_on:
            self._handed_on.compiled(definition)
        if compiled.status == "recompiled" and not is_of_another_test:
            logger.warning(
                "flow %s is not what this database had and was recompiled, its runs are gone: %s",
                definition.slug,
                "; ".join(compiled.differences),
            )

    def _clock(self) -> Clock:
        if self._handed_on:
            self._handed_on.show()
        if self._time is None or self._time.conn is not self._conn():
            self._time = Clock(self._conn())
        return self._time

    def _conn(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = self._spares.take(self._dsn)
        return self._connection


@contextmanager
def provide_runner(
    node: Node, database: tuple[str, HandedOn | None], given: Mapping[str, Any], **fixed: Any
) -> Iterator[FlowRunner]:
    """Provide a runner on this database, with what markers say, then what the fixture's maker fixed, then settings."""
    fixed = {name: checked(name, value) for name, value in fixed.items()}
    settings, marked = replace(settle(node.config, given), **fixed), read_markers(node)
    defaults = Defaults(
        executor=marked.executor or settings.executor,
        timeout=marked.timeout or settings.timeout,
        skip_delays=marked.skip_delays is not False,
        processes=marked.processes or settings.processes,
    )
    node.config.stash[DEBUGGED] = False
    dsn, handed_on = database
    runner = FlowRunner(
        dsn,
        defaults,
        debugged=lambda: node.config.stash.get(DEBUGGED, False),
        spares=node.config.stash.get(SPARES, None),
        handed_on=handed_on,
    )
    try:
        yield runner
    finally:
        runner.close()
