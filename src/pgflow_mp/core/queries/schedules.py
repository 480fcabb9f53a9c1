"""Statements about schedules and pauses: make, change, look, and start what is due."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pgflow_mp.core.queries.runs import StartedRun
from pgflow_mp.core.statement import Row, Statement, value
from pgflow_mp.schedule import NEVER, CatchUp, Schedule, as_mapping

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "DueSchedules",
    "Progress",
    "Seen",
    "StartedTick",
    "StoredSchedule",
    "delete_schedule",
    "due_schedules",
    "list_schedules",
    "pause_flow",
    "pause_schedule",
    "paused_flows",
    "run_schedule",
    "set_schedule",
    "start_ticks",
]


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """A schedule as the database has it.

    Attributes:
        name: Its name, unique in the database.
        flow_slug: The flow or job that it starts.
        cron: A cron expression, or None.
        every: An interval, or None.
        time_zone: Of the cron expression.
        input: What each run is started with.
        catch_up: ``skip``, ``once`` or ``all``.
        declared: In the flow's code, where alone it can be changed.
        paused_at: Since when it is paused; None when it is not.
        flow_paused: The flow is paused, so it does not tick either.
        next_at: The next tick; None while it is paused or its flow is.
        last_tick_at: The last tick that started a run, or tried to.
        last_run_id: The last run that it started.
        last_error: Why the last tick started nothing; None when it did.
    """

    name: str
    flow_slug: str
    cron: str | None
    every: timedelta | None
    time_zone: str
    input: Any
    catch_up: CatchUp
    declared: bool
    paused_at: datetime | None
    flow_paused: bool
    next_at: datetime | None
    last_tick_at: datetime | None
    last_run_id: UUID | None
    last_error: str | None

    @property
    def paused(self) -> bool:
        """Whether it does not tick, for whichever reason."""
        return self.paused_at is not None or self.flow_paused


@dataclass(frozen=True, slots=True)
class Seen:
    """A schedule that is due, as a worker saw it; the row's columns."""

    name: str
    cron: str | None
    every: timedelta | None
    time_zone: str
    catch_up: CatchUp
    starts_at: datetime
    considered_at: datetime

    @property
    def schedule(self) -> Schedule:
        """The schedule itself.

        Raises:
            InvalidSchedule: Whoever made it knew more than this machine: a time zone, perhaps.
        """
        return Schedule(self.cron, every=self.every, time_zone=self.time_zone, catch_up=self.catch_up, name=self.name)


@dataclass(frozen=True, slots=True)
class DueSchedules:
    """What is due.

    Attributes:
        now: The database's time.
        wait: Seconds until the next tick of those that are not due; None when none is known.
        schedules: Those that are.
    """

    now: datetime
    wait: float | None
    schedules: tuple[Seen, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How a schedule goes on.

    Attributes:
        seen: The schedule, as it was seen.
        considered_at: How far it is considered from now on.
        next_at: When it is due again.
        ticks: The ticks to start a run for, oldest first.
    """

    seen: Seen
    considered_at: datetime
    next_at: datetime
    ticks: tuple[datetime, ...]


@dataclass(frozen=True, slots=True)
class StartedTick:
    """A tick that has come.

    Attributes:
        schedule_name: The schedule.
        flow_slug: The flow.
        tick_at: When it was due.
        error: Why it started no run; None when it did.
        run: The run; None when it started none.
    """

    schedule_name: str
    flow_slug: str
    tick_at: datetime
    error: str | None
    run: StartedRun | None


_DUE = """
select at, wait, schedule_name, cron, every, time_zone, catch_up, starts_at, considered_at
from pgflow_mp.due_schedules()
"""


def due_schedules() -> Statement[DueSchedules]:
    """Tell which schedules are due, and when the next one is."""
    return Statement(_DUE, (), _read_due)


_START = """
select schedule_name, flow_slug, tick_at, error, run_id, status, started_at, ended_at
from pgflow_mp.start_ticks(
  worker_id => %s::uuid, names => %s::text[], before => %s::timestamptz[], after => %s::timestamptz[],
  next_ats => %s::timestamptz[], of_schedule => %s::int[], tick_ats => %s::timestamptz[], run_ids => %s::uuid[]
)
"""


def start_ticks(
    progress: Sequence[Progress], run_ids: Sequence[UUID], worker_id: UUID | None = None
) -> Statement[list[StartedTick]]:
    """Start the runs of ticks, each exactly once, whoever else tries; return those that this call started.

    Args:
        progress: How the schedules go on.
        run_ids: An id for each of their ticks, in order.
        worker_id: Who starts them.
    """
    ticks = [(place, tick) for place, each in enumerate(progress, start=1) for tick in each.ticks]
    params = (
        worker_id,
        [each.seen.name for each in progress],
        [each.seen.considered_at for each in progress],
        [each.considered_at for each in progress],
        [each.next_at for each in progress],
        [place for place, _ in ticks],
        [tick for _, tick in ticks],
        list(run_ids),
    )
    return Statement(_START, params, lambda found: [_read_tick(*row) for row in found])


def set_schedule(flow_slug: str, schedule: Schedule) -> Statement[StoredSchedule]:
    """Make a schedule, or change the one of its name; return it as it is stored.

    Raises:
        psycopg.errors.ForeignKeyViolation: (when executed) There is no such flow (``schedules_flow_slug_fkey``).
        psycopg.errors.RaiseException: (when executed) It is declared in code, or another flow's.
    """
    sql = "select pgflow_mp.set_schedule(%s::text, %s::jsonb)::text"
    return Statement(sql, (flow_slug, json.dumps(as_mapping(schedule))), lambda found: _read_schedule(found[0]))


def list_schedules(flow_slug: str | None = None, name: str | None = None) -> Statement[list[StoredSchedule]]:
    """Read schedules by name; of one flow, or of one name, where that is given."""
    sql = "select s::text from pgflow_mp.list_schedules(%s::text, %s::text) as s"
    return Statement(sql, (flow_slug, name), lambda found: [_read_schedule(row) for row in found])


def pause_schedule(name: str, *, paused: bool) -> Statement[bool]:
    """Pause or resume a schedule; tell whether there is one."""
    return Statement("select pgflow_mp.pause_schedule(%s::text, %s::boolean)", (name, paused), value)


_RUN = """
select flow_slug, run_id, status, started_at, coalesce(completed_at, failed_at)
from pgflow_mp.run_schedule(%s::text, %s::uuid)
"""


def run_schedule(name: str, run_id: UUID) -> Statement[tuple[str, StartedRun] | None]:
    """Start a run of a schedule now; return its flow and the run, None when there is no such schedule."""
    return Statement(_RUN, (name, run_id), lambda found: (found[0][0], StartedRun(*found[0][1:])) if found else None)


def delete_schedule(name: str) -> Statement[bool]:
    """Delete a schedule; tell whether there was one."""
    return Statement("select pgflow_mp.delete_schedule(%s::text)", (name,), value)


def pause_flow(flow_slug: str, *, paused: bool) -> Statement[bool]:
    """Pause or resume a flow; tell whether there is one."""
    return Statement("select pgflow_mp.pause_flow(%s::text, %s::boolean)", (flow_slug, paused), value)


def paused_flows() -> Statement[dict[str, datetime]]:
    """Tell which flows are paused, and since when."""
    return Statement("select flow_slug, paused_at from pgflow_mp.paused_flows()", (), dict)


def _read_due(found: list[Row]) -> DueSchedules:
    now, wait = found[0][:2]
    schedules = tuple(Seen(*row[2:]) for row in found if row[2] is not None)
    return DueSchedules(now.astimezone(UTC), wait, schedules)


def _read_tick(schedule_name: str, flow_slug: str, tick_at: datetime, error: str | None, *run: Any) -> StartedTick:
    return StartedTick(schedule_name, flow_slug, tick_at, error, None if error else StartedRun(*run))


def _read_schedule(row: Row) -> StoredSchedule:
    stored = json.loads(row[0])
    every = None if stored["every"] is None else timedelta(seconds=stored["every"])
    schedule = Schedule(
        stored["cron"], every=every, time_zone=stored["time_zone"], input=stored["input"], catch_up=stored["catch_up"]
    )
    return StoredSchedule(
        name=stored["schedule_name"],
        flow_slug=stored["flow_slug"],
        cron=schedule.cron,
        every=schedule.every,
        time_zone=schedule.time_zone,
        input=schedule.input,
        catch_up=schedule.catch_up,
        declared=stored["declared"],
        paused_at=_moment(stored["paused_at"]),
        flow_paused=stored["flow_paused"],
        next_at=_next_at(stored, schedule),
        last_tick_at=_moment(stored["last_tick_at"]),
        last_run_id=None if stored["last_run_id"] is None else UUID(stored["last_run_id"]),
        last_error=stored["last_error"],
    )


def _next_at(stored: dict[str, Any], schedule: Schedule) -> datetime | None:
    """Work out what no worker has worked out yet."""
    if stored["paused_at"] is not None or stored["flow_paused"]:
        return None
    next_at = _moment(stored["next_at"])
    if next_at is None:
        considered, starts = (datetime.fromisoformat(stored[name]) for name in ("considered_at", "starts_at"))
        next_at = schedule.next_tick(considered, starts)
    return None if next_at >= NEVER else next_at


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
