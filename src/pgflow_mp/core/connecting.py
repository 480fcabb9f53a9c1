"""Opening connections, and saying in a sentence why one could not be opened. Passwords are never shown."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgflow_mp.errors import DatabaseUnreachable

CONNECT_SECONDS = 10


def connect(dsn: str, *, autocommit: bool = True, purpose: str = "client") -> psycopg.Connection[Any]:
    """Open a connection.

    Args:
        dsn: A libpq connection string or URL.
        autocommit: Whether each statement is a transaction of its own.
        purpose: Shown in `pg_stat_activity.application_name` behind `pgflow-mp`.

    Raises:
        DatabaseUnreachable: The DSN does not parse, nobody answers there, or the server refuses us.
    """
    try:
        return psycopg.connect(
            dsn,
            autocommit=autocommit,
            application_name=f"pgflow-mp {purpose}",
            connect_timeout=CONNECT_SECONDS,
        )
    except psycopg.Error as error:
        raise unreachable(dsn, error) from None


def unreachable(dsn: str, error: psycopg.Error) -> DatabaseUnreachable:
    """Return the error that says why the database of this DSN cannot be used."""
    if isinstance(error, psycopg.ProgrammingError):
        return DatabaseUnreachable(
            "the DSN cannot be read: it is neither a URL such as postgresql://user@host/database "
            f"nor a libpq string such as host=... dbname=...: {_last_line(error)}"
        )
    return DatabaseUnreachable(
        f"cannot reach the database {describe(dsn)}: {_last_line(error)}; check the DSN and that the server runs"
    )


def describe(dsn: str) -> str:
    """Name the database of a DSN for a message: host, port, database and user, never the password."""
    shown = {key: value for key, value in conninfo_to_dict(dsn).items() if key in ("host", "port", "dbname", "user")}
    return " ".join(f"{key}={value}" for key, value in shown.items()) or "of the libpq defaults"


def _last_line(error: psycopg.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
