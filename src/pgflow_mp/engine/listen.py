"""Listening for work: a notification wakes the claim loop within milliseconds.

It is only a hint. When the connection breaks, polling goes on, and the connection is opened again; whatever
was announced in between is found because every new connection wakes the claim loop once.

A connection can be deaf and look well: its other end is gone without a word, or a transaction-mode pooler has put
LISTEN on a connection that is somebody else's by now. So the listener calls to itself, over another connection, and
expects to hear it. A deaf connection is replaced. One that has never heard anything is told to the operator, and
tried again rarely: polling does the work.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg

from pgflow_mp.connecting import sentence_of
from pgflow_mp.core.statement import Statement, nothing
from pgflow_mp.engine.backoff import Backoff
from pgflow_mp.engine.cancelling import CANCELLED_CHANNEL
from pgflow_mp.engine.dynamic import FLOWS_CHANNEL
from pgflow_mp.engine.hearing import heard
from pgflow_mp.engine.link import LOST, sever, severed_after
from pgflow_mp.engine.wait import wait_for_event

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pgflow_mp.engine.link import Link

logger = logging.getLogger("pgflow_mp.listen")

WORK_CHANNEL = "pgflow_mp_work"

CALL_SECONDS = 10.0
"""From one call to itself to the next."""
ECHO_SECONDS = 5.0
"""What is not heard by then is not heard."""
DEAF_SECONDS = 300.0
"""Until a connection that lets no notification through is tried again."""


class Listener:
    """Wakes somebody when work is announced for one of the flows.

    Args:
        link: The connection that listens; the listener's alone.
        caller: A connection to the same database, over which it calls to itself.
        flow_slugs: The flows; read at every notification.
        wake: Called when there may be work, with the flows that it was announced for, or with None: anywhere.
        on_cancelled: Called with the payload when runs were cancelled.
        on_flows: Called when flows were made or changed from plain data.
    """

    def __init__(
        self,
        link: Link,
        caller: Link,
        flow_slugs: Collection[str],
        wake: Callable[[Collection[str] | None], None],
        on_cancelled: Callable[[str], None],
        on_flows: Callable[[], None] | None = None,
    ) -> None:
        self._link = link
        self._caller = caller
        self._flow_slugs = flow_slugs
        self._wake = wake
        self._on_cancelled = on_cancelled
        self._on_flows = on_flows
        self._own_channel = f"pgflow_mp_echo_{uuid4().hex}"
        self._echo = asyncio.Event()
        self._backoff = Backoff()
        self._pause = 0.0
        self.hears = False

    async def run(self) -> None:
        """Listen until cancelled."""
        try:
            while True:
                self._pause = self._backoff.next()
                try:
                    await self._listen()
                except LOST as error:
                    if not self._pause >= DEAF_SECONDS:
                        logger.warning("lost the notification connection; polling goes on: %s", sentence_of(error))
                self.hears = False
                await self._link.close()
                await asyncio.sleep(self._pause)
        finally:
            await self._link.close()

    async def _listen(self) -> None:
        connection = await self._link.connection()
        with severed_after(connection, ECHO_SECONDS):
            await connection.execute(f"LISTEN {WORK_CHANNEL}")
            await connection.execute(f"LISTEN {CANCELLED_CHANNEL}")
            await connection.execute(f"LISTEN {self._own_channel}")
            if self._on_flows is not None:
                await connection.execute(f"LISTEN {FLOWS_CHANNEL}")
        self._wake(None)
        check = asyncio.create_task(self._check(connection))
        try:
            async for notification in heard(connection):
                if notification.channel == self._own_channel:
                    self._echo.set()
                elif notification.channel == CANCELLED_CHANNEL:
                    self._on_cancelled(notification.payload)
                elif notification.channel == FLOWS_CHANNEL:
                    if self._on_flows is not None:
                        self._on_flows()
                elif not notification.payload:  # the queues were too many to list
                    self._wake(None)
                elif flow_slugs := self._named(notification.payload):
                    self._wake(flow_slugs)
        finally:
            check.cancel()
            with suppress(asyncio.CancelledError):
                await check

    async def _check(self, connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        """Call and wait for the echo, again and again; sever the connection when there is none."""
        call = Statement("select pg_notify(%s::text, '')", (self._own_channel,), nothing)
        while True:
            self._echo.clear()
            try:
                await self._caller.run(call)
            except (psycopg.Error, OSError):
                pass  # nothing is known; the heartbeat reports what is wrong with the database
            else:
                if not await wait_for_event(self._echo, ECHO_SECONDS):
                    self._tell_deaf()
                    sever(connection)
                    return
                self.hears = True
                self._backoff.reset()
            await asyncio.sleep(CALL_SECONDS)

    def _tell_deaf(self) -> None:
        if self.hears:
            logger.warning("the notification connection has died without a word; polling goes on over the others")
        else:
            self._pause = DEAF_SECONDS
            logger.warning(
                "notifications do not come through (a pooler in transaction mode?); work is found by polling. "
                "Name a direct connection with --listen-dsn to have it found at once"
            )

    def _named(self, payload: str) -> list[str]:
        """Return our flows among those whose queues are listed.

        The queue of a step is `flow__step`, and no slug holds two underscores (generations QN-5).
        """
        announced = {queue.partition("__")[0].lower() for queue in payload.split(",")}
        return [slug for slug in self._flow_slugs if slug.lower() in announced]
