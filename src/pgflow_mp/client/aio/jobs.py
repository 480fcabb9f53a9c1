"""Jobs: start them now, later, or many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.client.aio.face import AsyncFace
from pgflow_mp.client.arguments import NO_INPUT, FlowRef, encoded_input, ids_for, many, run_keys, slug_of
from pgflow_mp.client.moments import checked_delay, checked_moment
from pgflow_mp.core.queries import runs
from pgflow_mp.errors import InvalidSchedule

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from pgflow_mp.client.joining import AsyncConn


class AsyncJobs(AsyncFace):
    """The operations on jobs; each takes any flow as well, whose first steps then begin later."""

    async def enqueue(
        self,
        job: FlowRef,
        input: object = NO_INPUT,  # noqa: A002 - the contract's word (core 3.6)
        *,
        delay_seconds: int | None = None,
        scheduled_at: datetime | None = None,
        run_id: UUID | None = None,
        idempotency_key: str | None = None,
        unique_while_running: bool = False,
        conn: AsyncConn | None = None,
    ) -> UUID:
        """Start one run, now or later, and return its id.

        The run is stored at once; no worker can take it before its time. Times are those of the database.

        Args:
            job: The job (or flow), its definition, or its slug.
            input: A JSON value; `{}` by default.
            delay_seconds: Begin so many seconds from now; a whole number, 0 is now.
            scheduled_at: Begin at this time instead, in any time zone; a time that has passed is now.
            run_id: Use this id; a time-ordered one is made otherwise (D-9).
            idempotency_key: Start it once; as for `start_flow`.
            unique_while_running: As for `start_flow`.
            conn: Join the transaction of this connection.

        Raises:
            FlowNotFound: The database has no such job: compile it first.
            InvalidInput: The input is no JSON, or not what it takes.
            InvalidSchedule: The delay is no whole number of seconds, the time has no time zone, or both are given.
        """
        enqueued = await self.enqueue_many(
            job,
            [input],
            delay_seconds=delay_seconds,
            scheduled_at=scheduled_at,
            run_ids=None if run_id is None else [run_id],
            idempotency_keys=None if idempotency_key is None else [idempotency_key],
            unique_while_running=unique_while_running,
            conn=conn,
        )
        return enqueued[0]

    async def enqueue_in(
        self,
        job: FlowRef,
        input: object,  # noqa: A002 - the contract's word (core 3.6)
        delay_seconds: int,
        *,
        idempotency_key: str | None = None,
        unique_while_running: bool = False,
        conn: AsyncConn | None = None,
    ) -> UUID:
        """Start one run that begins so many seconds from now; `enqueue` with `delay_seconds=`."""
        return await self.enqueue(
            job,
            input,
            delay_seconds=checked_delay(delay_seconds),
            idempotency_key=idempotency_key,
            unique_while_running=unique_while_running,
            conn=conn,
        )

    async def enqueue_at(
        self,
        job: FlowRef,
        input: object,  # noqa: A002 - the contract's word (core 3.6)
        scheduled_at: datetime,
        *,
        idempotency_key: str | None = None,
        unique_while_running: bool = False,
        conn: AsyncConn | None = None,
    ) -> UUID:
        """Start one run that begins at this time; `enqueue` with `scheduled_at=`."""
        return await self.enqueue(
            job,
            input,
            scheduled_at=checked_moment(scheduled_at),
            idempotency_key=idempotency_key,
            unique_while_running=unique_while_running,
            conn=conn,
        )

    async def enqueue_many(
        self,
        job: FlowRef,
        inputs: Iterable[object],
        *,
        delay_seconds: int | None = None,
        scheduled_at: datetime | None = None,
        run_ids: Iterable[UUID] | None = None,
        idempotency_keys: Iterable[str | None] | None = None,
        unique_while_running: bool = False,
        conn: AsyncConn | None = None,
    ) -> list[UUID]:
        """Start one run for each input, all in one round trip and one transaction; return the ids in order.

        Args and errors are those of `enqueue`; the time is the same for all. One bad input, and no run was started.
        """
        if delay_seconds is not None and scheduled_at is not None:
            raise InvalidSchedule("give delay_seconds= or scheduled_at=, not both")
        given = many(inputs, name="inputs")
        ids = ids_for(given, run_ids)
        slug, definition = slug_of(job), self._known(job)
        encoded = [encoded_input(value, definition) for value in given]
        keys = run_keys(idempotency_keys, count=len(ids), while_running=unique_while_running)
        delay = 0 if delay_seconds is None else checked_delay(delay_seconds)
        moment = None if scheduled_at is None else checked_moment(scheduled_at)
        if keys is None:
            statement = runs.enqueue(slug, encoded, ids, delay_seconds=delay, scheduled_at=moment)
        else:
            statement = runs.start_once(slug, encoded, ids, keys, delay_seconds=delay, scheduled_at=moment)
        return await self._start(slug, ids, statement, conn, flow=definition, doing=f"enqueuing `{slug}`")
