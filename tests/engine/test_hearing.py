"""What a connection hears arrives at once, whether somebody waits for it or not; its loss is told."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import psycopg
import pytest

from pgflow_mp.engine.hearing import heard
from pgflow_mp.engine.link import sever

DEADLINE_SECONDS = 20


@asynccontextmanager
async def listening(dsn):
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("LISTEN news")
        yield connection


def play(scenario, dsn):
    async def main():
        async with asyncio.timeout(DEADLINE_SECONDS), listening(dsn) as connection:
            return await scenario(connection)

    return asyncio.run(main())


async def take(connection, count):
    notifications = heard(connection)
    return [(found.channel, found.payload) for found in [await anext(notifications) for _ in range(count)]]


def test_what_came_before_and_what_comes_is_heard_in_order(pgflow_dsn, pgflow_conn):
    async def scenario(connection):
        pgflow_conn.execute("NOTIFY news, 'before'")
        await connection.execute("select 1")  # its answer brings the notification along
        waiting = asyncio.create_task(take(connection, 4))
        await asyncio.sleep(0.05)
        pgflow_conn.execute("NOTIFY news, 'one'; NOTIFY news, 'two'")
        pgflow_conn.execute("NOTIFY news, 'ä'")
        return await waiting

    assert play(scenario, pgflow_dsn) == [("news", said) for said in ("before", "one", "two", "ä")]


@pytest.mark.parametrize("end", ["terminated by the server", "severed here"])
def test_the_loss_of_the_connection_is_told(pgflow_dsn, pgflow_conn, end):
    async def scenario(connection):
        waiting = asyncio.create_task(take(connection, 1))
        await asyncio.sleep(0.05)
        if end == "severed here":
            sever(connection)
        else:
            pgflow_conn.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])
        with pytest.raises(psycopg.OperationalError):
            await waiting

    play(scenario, pgflow_dsn)
