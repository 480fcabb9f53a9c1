"""Schedules: runs that start by themselves, made and looked after at run time.

Those that a flow declares in its code are brought in by compiling it; here they can be looked at, paused and run. They
are changed where they are declared.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pgflow_mp.client.aio.face import AsyncFace
from pgflow_mp.client.arguments import NO_INPUT, FlowRef, encoded_input, slug_of
from pgflow_mp.client.telling import is_committed
from pgflow_mp.core.queries import schedules
from pgflow_mp.errors import ScheduleNotFound
from pgflow_mp.ids import new_id
from pgflow_mp.schedule import Schedule

if TYPE_CHECKING:
    from datetime import timedelta
    from uuid import UUID

    from pgflow_mp.client.joining import AsyncConn
    from pgflow_mp.core.queries.schedules import StoredSchedule
    from pgflow_mp.schedule import CatchUp


class AsyncSchedules(AsyncFace):
    """The operations on schedules."""

    async def schedule(
        self,
        flow: FlowRef,
        input: object = NO_INPUT,  # noqa: A002 - the contract's word (core 3.6)
        *,
        cron: str | None = None,
        every: timedelta | float | None = None,
        time_zone: str = "UTC",
        catch_up: CatchUp = "once",
        name: str | None = None,
        conn: AsyncConn | None = None,
    ) -> StoredSchedule:
        """Make a schedule, or change the one of this name; workers start its runs from now on.

        Args:
            flow: The flow or job, its definition, or its slug.
            input: What each run is started with: a JSON value; `{}` by default.
            cron: A cron expression of five fields, such as ``30 9 * * MON-FRI``; or
            every: an interval, a timedelta or seconds, at least 1 s.
            time_zone: The IANA zone that `cron` speaks of; clock changes are minded.
            catch_up: What becomes of ticks that no worker was there for: ``skip`` passes over those that are later than
                a minute, ``once`` starts one run for all of them, ``all`` one for each.
            name: Names it in the database; the flow's slug by default.
            conn: Join the transaction of this connection.

        Raises:
            FlowNotFound: The database has no such flow: compile it first.
            InvalidInput: The input is no JSON, or not of the type that the flow takes.
            InvalidSchedule: The expression, the interval or the zone cannot be used.
            PgflowError: The schedule of this name is declared in code, or is another flow's.
        """
        slug = slug_of(flow)
        encoded = encoded_input(input, self._known(flow))
        wanted = Schedule(
            cron,
            every=every,  # type: ignore[arg-type]  # seconds become a timedelta
            time_zone=time_zone,
            input=json.loads(encoded),
            catch_up=catch_up,
            name=slug if name is None else name,
        )
        return await self._connections.run(schedules.set_schedule(slug, wanted), conn, doing=f"scheduling `{slug}`")

    async def list_schedules(
        self, flow: FlowRef | None = None, *, conn: AsyncConn | None = None
    ) -> list[StoredSchedule]:
        """Return the schedules by name, of one flow or of all."""
        statement = schedules.list_schedules(None if flow is None else slug_of(flow))
        return await self._connections.run(statement, conn, doing="listing schedules")

    async def get_schedule(self, name: str, *, conn: AsyncConn | None = None) -> StoredSchedule:
        """Return a schedule.

        Raises:
            ScheduleNotFound: There is none of this name.
        """
        found = await self._connections.run(schedules.list_schedules(name=name), conn, doing="reading a schedule")
        if not found:
            raise _no_schedule(name)
        return found[0]

    async def pause_schedule(self, name: str, *, conn: AsyncConn | None = None) -> None:
        """Let a schedule start nothing until it is resumed; what ticks meanwhile is not caught up.

        Raises:
            ScheduleNotFound: There is none of this name.
        """
        if not await self._connections.run(schedules.pause_schedule(name, paused=True), conn, doing="pausing"):
            raise _no_schedule(name)

    async def resume_schedule(self, name: str, *, conn: AsyncConn | None = None) -> None:
        """Let a paused schedule go on with its next tick.

        Raises:
            ScheduleNotFound: There is none of this name.
        """
        if not await self._connections.run(schedules.pause_schedule(name, paused=False), conn, doing="resuming"):
            raise _no_schedule(name)

    async def run_schedule(self, name: str, *, run_id: UUID | None = None, conn: AsyncConn | None = None) -> UUID:
        """Start a run of a schedule now, also of a paused one, and return its id; its ticks go on as they would have.

        Raises:
            ScheduleNotFound: There is none of this name.
            InvalidInput: The flow does not take its input.
        """
        started = await self._connections.run(
            schedules.run_schedule(name, run_id or new_id()), conn, doing=f"running schedule `{name}`"
        )
        if started is None:
            raise _no_schedule(name)
        flow_slug, run = started
        if is_committed(conn):
            await self._tell(flow_slug, run, conn)
        return run.run_id

    async def delete_schedule(self, name: str, *, conn: AsyncConn | None = None) -> None:
        """Delete a schedule; the runs that it started stay.

        Raises:
            ScheduleNotFound: There is none of this name.
            PgflowError: It is declared in code and would come back with it: remove it there, or pause it.
        """
        if not await self._connections.run(schedules.delete_schedule(name), conn, doing=f"deleting schedule `{name}`"):
            raise _no_schedule(name)


def _no_schedule(name: str) -> ScheduleNotFound:
    return ScheduleNotFound(f"there is no schedule {name!r} in this database")
