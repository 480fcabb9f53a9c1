"""Joining the caller's transaction: from what `conn=` is given to the psycopg connection in it."""

from __future__ import annotations

from typing import Any, TypeAlias

import psycopg

from pgflow_mp.errors import PgflowError

__all__ = ["AsyncConn", "Conn", "joined", "joined_async"]

Conn: TypeAlias = psycopg.Connection[Any]
"""What `conn=` of `PgFlow` takes."""

AsyncConn: TypeAlias = psycopg.AsyncConnection[Any]
"""What `conn=` of `AsyncPgFlow` takes."""


def joined(conn: Conn) -> psycopg.Connection[Any]:
    """Return the psycopg connection whose transaction the caller wants to join.

    Raises:
        PgflowError: It is no connection that could be joined; says which can.
    """
    if isinstance(conn, psycopg.Connection):
        return conn
    raise PgflowError(f"conn= takes a psycopg.Connection, not {type(conn).__qualname__}")


async def joined_async(conn: AsyncConn) -> psycopg.AsyncConnection[Any]:
    """Return the psycopg connection whose transaction the caller wants to join.

    Raises:
        PgflowError: It is no connection that could be joined; says which can.
    """
    if isinstance(conn, psycopg.AsyncConnection):
        return conn
    raise PgflowError(f"conn= takes a psycopg.AsyncConnection, not {type(conn).__qualname__}")
