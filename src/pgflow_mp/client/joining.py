"""Joining the caller's transaction: from what `conn=` is given to the psycopg connection in it.

A connection of psycopg is that already. SQLAlchemy and Django keep one inside; what they need to know about its use
they are told, so that their own commit and rollback hold for our statements as for theirs:

- SQLAlchemy commits only what it believes to have begun, so its transaction is begun, as by a statement of its own.
- Django commits an atomic block whose error somebody has caught, and the database then silently rolls it back; the
  block is marked for rollback, as by an error of its own.

Neither library is imported here: an object of theirs is known by what it can do.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import psycopg

from pgflow_mp.errors import InvalidConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["AsyncConn", "Conn", "HasConnection", "joined", "joined_async"]


class HasConnection(Protocol):
    """A connection or session of SQLAlchemy, or a connection of Django: each has one of psycopg inside."""

    @property
    def connection(self) -> Any:
        """What leads there: an attribute, or a method of sessions."""


class IsProxy(Protocol):
    """What stands for a connection and passes everything on, as `django.db.connection` does."""

    def __getattr__(self, name: Any, /) -> Any: ...


Conn: TypeAlias = psycopg.Connection[Any] | HasConnection | IsProxy
"""What `conn=` of `PgFlow` takes."""

AsyncConn: TypeAlias = psycopg.AsyncConnection[Any] | HasConnection
"""What `conn=` of `AsyncPgFlow` takes."""

_TAKEN = (
    "conn= takes a psycopg.Connection, a Connection or Session of SQLAlchemy (postgresql+psycopg://), "
    "or a Django connection (psycopg 3)"
)
_TAKEN_ASYNC = (
    "conn= of AsyncPgFlow takes a psycopg.AsyncConnection, or an AsyncConnection or AsyncSession of SQLAlchemy "
    "(postgresql+psycopg://); for Django call PgFlow, in sync_to_async"
)


@contextmanager
def joined(conn: Conn) -> Iterator[psycopg.Connection[Any]]:
    """Lend the psycopg connection whose transaction the caller wants to join.

    Raises:
        InvalidConnection: There is none in what was given; says what is taken.
    """
    if isinstance(conn, psycopg.Connection):
        yield conn
    elif _is_of_django(conn):
        with _of_django(conn) as found:
            yield found
    else:
        yield _of_sqlalchemy(conn)


@asynccontextmanager
async def joined_async(conn: AsyncConn) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Lend the psycopg connection whose transaction the caller wants to join.

    Raises:
        InvalidConnection: There is none in what was given; says what is taken.
    """
    if isinstance(conn, psycopg.AsyncConnection):
        yield conn
        return
    connection: Any = conn
    if hasattr(connection, "sync_session"):
        connection = await connection.connection()
    if not hasattr(connection, "get_raw_connection"):
        raise _refusal(_TAKEN_ASYNC, conn)
    if not connection.in_transaction():
        await connection.begin()
    found = (await connection.get_raw_connection()).driver_connection
    if not isinstance(found, psycopg.AsyncConnection):
        raise _refusal(_TAKEN_ASYNC, conn, found)
    yield found


def _is_of_django(conn: Any) -> bool:
    return hasattr(conn, "ensure_connection") and hasattr(conn, "validate_no_broken_transaction")


@contextmanager
def _of_django(conn: Any) -> Iterator[psycopg.Connection[Any]]:
    conn.validate_thread_sharing()
    conn.validate_no_broken_transaction()
    conn.ensure_connection()
    found = conn.connection
    if not isinstance(found, psycopg.Connection):
        raise _refusal(_TAKEN, conn, found)
    try:
        yield found
    except psycopg.Error:
        if conn.in_atomic_block:
            conn.needs_rollback = True
        raise


def _of_sqlalchemy(conn: Any) -> psycopg.Connection[Any]:
    connection = conn.connection() if callable(getattr(conn, "connection", None)) else conn
    if not (hasattr(connection, "in_transaction") and hasattr(connection, "connection")):
        raise _refusal(_TAKEN, conn)
    if not connection.in_transaction():
        connection.begin()
    found = connection.connection.driver_connection
    if not isinstance(found, psycopg.Connection):
        raise _refusal(_TAKEN, conn, found)
    return found


def _refusal(taken: str, conn: object, found: object = None) -> InvalidConnection:
    inside = "" if found is None else f" with one of {_name(found)} inside"
    return InvalidConnection(f"{taken}; not {_name(conn)}{inside}")


def _name(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
