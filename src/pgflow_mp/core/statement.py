"""One SQL statement, described and not yet executed.

A query function returns a `Statement`: the text, its parameters, and how to read the rows. `execute` runs it
on a synchronous connection, `execute_async` on an asynchronous one. So every query is written once and serves
both faces, and it joins whatever transaction the connection is in.

The cursors are our own: a caller's connection may carry a row factory or a cursor class that would change
what `read` gets to see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import psycopg
from psycopg.pq import ExecStatus
from psycopg.rows import tuple_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Row", "Statement", "execute", "execute_async", "nothing", "rows", "value"]

T = TypeVar("T")
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Statement(Generic[T]):
    """A statement with its parameters and the reader of its rows.

    Attributes:
        sql: The text, with ``%s`` for every parameter.
        params: One value for each ``%s``. JSON is passed as text.
        read: Makes the result of all rows; it gets an empty list when the statement returns none.
    """

    sql: str
    params: tuple[Any, ...]
    read: Callable[[list[Row]], T]


LARGE = 64 * 1024
"""Characters from which on an element of an array goes as a parameter of its own."""
MOST_PARAMETERS = 500
"""The most elements of an array that do; Postgres takes 65,535 parameters."""


def array_of(sql_type: str, texts: Sequence[str | None]) -> tuple[str, list[Any]]:
    """Return the SQL of an array that is made of texts, and its parameters.

    An array is one text, in which each element is quoted. For megabytes of JSON that takes several times as long as
    to send each element as a parameter of its own.

    Args:
        sql_type: The type of an element.
        texts: The elements; None is NULL.
    """
    if len(texts) > MOST_PARAMETERS or all(text is None or len(text) < LARGE for text in texts):
        return f"%s::{sql_type}[]", [array_text(texts)]
    return f"array[{', '.join(['%s'] * len(texts))}]::{sql_type}[]", list(texts)


def array_text(elements: Iterable[object]) -> str:
    """Return an array as Postgres writes it, of ids, numbers, truth values and texts; None is NULL.

    psycopg would take a list as well, and look at each of its elements several times, in Python: a fifth of what a
    worker's parent did for a task.
    """
    return "{" + ",".join(map(_element, elements)) + "}"


def _element(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


def execute(conn: psycopg.Connection[Any], statement: Statement[T]) -> T:
    """Run `statement` on `conn` and return what its reader makes of the rows.

    Raises:
        psycopg.Error: Whatever the database answers; nothing is added or hidden here.
    """
    with psycopg.Cursor(conn, row_factory=tuple_row) as cursor:
        cursor.execute(statement.sql.encode(), statement.params or None)
        return statement.read(cursor.fetchall() if _has_rows(cursor) else [])


async def execute_async(conn: psycopg.AsyncConnection[Any], statement: Statement[T]) -> T:
    """Run `statement` on `conn`: `execute` for an asynchronous connection.

    Raises:
        psycopg.Error: Whatever the database answers; nothing is added or hidden here.
    """
    async with psycopg.AsyncCursor(conn, row_factory=tuple_row) as cursor:
        await cursor.execute(statement.sql.encode(), statement.params or None)
        return statement.read(await cursor.fetchall() if _has_rows(cursor) else [])


def execute_behind(conn: psycopg.Connection[Any], command: str, statement: Statement[T]) -> T:
    """Run a command without rows and `statement` behind it, in one round trip and one transaction.

    Args:
        conn: A connection with no transaction open.
        command: Such as a LISTEN.
        statement: One that answers with rows.

    Raises:
        psycopg.Error: As for `execute`; then neither was done.
    """
    with psycopg.Cursor(conn, row_factory=tuple_row) as cursor:
        with conn.pipeline():  # its end commits, and brings the answers
            conn.execute(command.encode())
            cursor.execute(statement.sql.encode(), statement.params or None)
        return statement.read(cursor.fetchall())


async def execute_behind_async(conn: psycopg.AsyncConnection[Any], command: str, statement: Statement[T]) -> T:
    """Run a command without rows and `statement` behind it: `execute_behind` for an asynchronous connection.

    Raises:
        psycopg.Error: As for `execute`; then neither was done.
    """
    async with psycopg.AsyncCursor(conn, row_factory=tuple_row) as cursor:
        async with conn.pipeline():
            await conn.execute(command.encode())
            await cursor.execute(statement.sql.encode(), statement.params or None)
        return statement.read(await cursor.fetchall())


def _has_rows(cursor: psycopg.Cursor[Row] | psycopg.AsyncCursor[Row]) -> bool:
    """Whether the statement answers with rows; `description` would tell too, by describing each column in Python."""
    return cursor.pgresult is not None and cursor.pgresult.status == ExecStatus.TUPLES_OK


def value(found: list[Row]) -> Any:
    """Read the first column of the only row; None when there is no row."""
    return found[0][0] if found else None


def rows(found: list[Row]) -> list[Row]:
    """Read the rows as they are."""
    return found


def nothing(found: Sequence[Row]) -> None:
    """Read nothing: the statement is run for its effect."""
    del found
