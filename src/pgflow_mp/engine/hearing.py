"""Notifications of a connection as they come, at no cost while none come.

psycopg's own `notifies()` looks up ten times a second while it waits, for the sake of Ctrl-C where there is no loop: a
fifth of what an idle worker used. Here the loop watches the socket, and libpq is asked when there is something to read.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from psycopg import Notify

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import psycopg


async def heard(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> AsyncIterator[Notify]:
    """Yield what a connection hears, for ever; nobody else may use it meanwhile.

    Raises:
        psycopg.OperationalError: The connection is lost.
    """
    async for notification in connection.notifies(timeout=0):  # came with the answers to statements before
        yield notification
    while True:
        await _readable(connection.fileno())
        connection.pgconn.consume_input()
        while (found := connection.pgconn.notifies()) is not None:
            yield Notify(found.relname.decode(), found.extra.decode(), found.be_pid)


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
