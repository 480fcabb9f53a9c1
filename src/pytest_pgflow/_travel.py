"""Time in a test's database: it stands still, and moves only when the test says so.

What waits for a time in production waits for this one: schedules, and runs that were enqueued for later. On its way the
clock stops at each moment at which one of them is due, so that everything happens in order and at its time. Handlers,
and the times in tables, keep the real time; delays before retries are skipped as ever.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg

from pgflow_mp.client.moments import checked_moment
from pgflow_mp.connecting import sentence_of
from pgflow_mp.core.queries.clock import begin_anew, read_clock, restore_clock, stop_clock, waiting_runs
from pgflow_mp.core.queries.schedules import due_schedules, paused_flows
from pgflow_mp.core.queries.tasks import skip_delays
from pgflow_mp.core.statement import execute
from pgflow_mp.engine.schedules import starting
from pgflow_mp.errors import InvalidSchedule, PgflowError
from pgflow_mp.rules import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from uuid import UUID

    from pgflow_mp.core.queries.schedules import DueSchedules
    from pytest_pgflow._results import FlowRun


class Clock:
    """The clock of a test's database.

    Args:
        conn: A connection in autocommit mode, of a role that owns our functions.

    Attributes:
        stopped: Whether it stands still.
    """

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self.conn = conn
        self.stopped = False

    @property
    def now(self) -> datetime:
        """Its time, in UTC."""
        return execute(self.conn, read_clock())

    def stop(self, moment: datetime | None = None) -> datetime:
        """Let it stand still, at a moment or where it is; return the moment."""
        moment = self.now if moment is None else moment.astimezone(UTC)
        try:
            execute(self.conn, stop_clock(moment))
        except psycopg.errors.InsufficientPrivilege as error:
            raise PgflowError(
                f"time cannot stand still in this database: {sentence_of(error)}; "
                "it takes the role that installed pgflow"
            ) from error
        self.stopped = True
        return moment

    def set(self, moment: datetime) -> None:
        """Let it stand still at a moment, earlier or later, and all schedules begin there."""
        self.stop(moment)
        execute(self.conn, begin_anew())

    def restore(self) -> None:
        """Let it be the database's own again."""
        if self.stopped and not self.conn.closed:
            execute(self.conn, restore_clock())
        self.stopped = False


@dataclass(frozen=True, slots=True)
class Journey:
    """A way through time.

    Attributes:
        conn: The connection.
        clock: What moves.
        flows: The slugs of those whose runs are worked off on the way.
        work_off: Works runs of a flow off to their end.
        look: Returns a run as it is.
        out_of_time: Asked between stops.
    """

    conn: psycopg.Connection[Any]
    clock: Clock
    flows: Collection[str]
    work_off: Callable[[str, Sequence[UUID]], list[FlowRun]]
    look: Callable[[UUID], FlowRun]
    out_of_time: Callable[[], bool]

    def go(self, until: datetime, *, at_once: bool) -> list[FlowRun]:
        """Move on, stop at everything that is due, or with `at_once` only at the end; return the runs in order."""
        now = self.clock.stop()
        if until < now:
            raise InvalidSchedule(f"time moves on only: it is {now}, after {until}; freeze(at) sets any time")
        done: list[FlowRun] = []
        while True:
            due = execute(self.conn, due_schedules())
            done += self._stop_over(due)
            if now >= until:
                return done
            if self.out_of_time():
                raise TimeoutError(f"the time is up at {now}, on the way to {until}; runs so far: {len(done)}")
            step = until - now if at_once else min(until - now, self._next_stop())
            self._pass(step)
            now = self.clock.stop(now + step)

    def _stop_over(self, due: DueSchedules) -> list[FlowRun]:
        """Start what is due, and work off whatever may start now."""
        ticks: dict[UUID, datetime] = {}
        while (statement := starting(due)) is not None:
            for tick in execute(self.conn, statement):
                if tick.run is None:
                    raise PgflowError(f"schedule {tick.schedule_name!r} could not start {tick.flow_slug}: {tick.error}")
                ticks[tick.run.run_id] = tick.tick_at
            due = execute(self.conn, due_schedules())
        done = []
        while found := self._startable():
            for flow_slug, run_ids in found.items():
                done += self.work_off(flow_slug, run_ids)
        known = {run.run_id for run in done}
        done += [self.look(run_id) for run_id in ticks if run_id not in known]
        return [replace(run, tick_at=ticks.get(run.run_id)) for run in done]

    def _startable(self) -> dict[str, list[UUID]]:
        found: dict[str, list[UUID]] = {}
        for run_id, flow_slug, seconds in self._waiting():
            if seconds <= 0:
                found.setdefault(flow_slug, []).append(run_id)
        return found

    def _next_stop(self) -> timedelta:
        """How far the next moment is at which something is due."""
        wait = execute(self.conn, due_schedules()).wait
        waits = [seconds for _, _, seconds in self._waiting() if seconds > 0] + ([] if wait is None else [wait])
        return timedelta(seconds=min(waits)) if waits else timedelta.max

    def _pass(self, step: timedelta) -> None:
        """Let what waits in queues wait so much less."""
        run_ids = [run_id for run_id, _, _ in self._waiting()]
        execute(self.conn, skip_delays(run_ids, by=step.total_seconds()))

    def _waiting(self) -> list[tuple[UUID, str, float]]:
        paused = execute(self.conn, paused_flows())
        return execute(self.conn, waiting_runs([slug for slug in self.flows if slug not in paused]))


def destination(now: datetime, to: datetime | None, by: timedelta | float | None) -> datetime:
    """Return where a journey ends.

    Raises:
        InvalidSchedule: Neither or both are given, or what is given is no time.
    """
    if (to is None) == (by is None):
        raise InvalidSchedule("say where to: travel(to=datetime) or travel(by=timedelta or seconds)")
    if to is not None:
        return checked_moment(to, "to")
    try:
        way = by if isinstance(by, timedelta) else timedelta(seconds=by)  # type: ignore[arg-type]
        return now + way
    except (TypeError, ValueError, OverflowError):
        raise InvalidSchedule(f"by= takes a timedelta or seconds, not {shown(by)}") from None
