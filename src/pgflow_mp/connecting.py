"""Opening connections, and saying in a sentence why one could not be opened, or what the server answered.

Secrets are never shown.
"""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgflow_mp.errors import DatabaseUnreachable, InvalidDsn

DSN_VARIABLE = "PGFLOW_DSN"
"""Environment variable: the database, where none is named (D-21)."""

CONNECT_SECONDS = 10
"""How long to wait for an answer when the DSN does not say (libpq would wait for minutes)."""

_SECRETS = ("password", "sslpassword", "oauth_client_secret")


def connect(dsn: str, *, autocommit: bool = True, purpose: str = "client") -> psycopg.Connection[Any]:
    """Open a connection.

    Args:
        dsn: A libpq connection string or URL.
        autocommit: Whether each statement is a transaction of its own.
        purpose: Shown in `pg_stat_activity.application_name` behind `pgflow-mp`.

    Raises:
        InvalidDsn: The DSN does not parse.
        DatabaseUnreachable: Nobody answers there, or the server refuses us.
    """
    try:
        return psycopg.connect(dsn, autocommit=autocommit, **_settings(dsn, purpose))
    except psycopg.Error as error:
        raise unreachable(dsn, error) from None


async def connect_async(dsn: str, *, autocommit: bool = True, purpose: str = "client") -> psycopg.AsyncConnection[Any]:
    """Open a connection: `connect`, awaited.

    Raises:
        InvalidDsn: The DSN does not parse.
        DatabaseUnreachable: Nobody answers there, or the server refuses us.
    """
    try:
        return await psycopg.AsyncConnection.connect(dsn, autocommit=autocommit, **_settings(dsn, purpose))
    except psycopg.Error as error:
        raise unreachable(dsn, error) from None


def _settings(dsn: str, purpose: str) -> dict[str, Any]:
    return {
        "prepare_threshold": None,  # a pooler in transaction mode hands out another connection for each statement
        "application_name": f"pgflow-mp {purpose}",
        "connect_timeout": patience(dsn),
    }


def patience(dsn: str) -> int:
    """Return how many seconds to wait for an answer: what the DSN says, else `CONNECT_SECONDS`.

    Raises:
        InvalidDsn: What it says is no number.
        psycopg.ProgrammingError: It does not parse.
    """
    given = conninfo_to_dict(dsn).get("connect_timeout") or CONNECT_SECONDS
    try:
        return int(given)
    except ValueError:
        raise InvalidDsn(f"the DSN is not valid: connect_timeout is a number of seconds, not `{given}`") from None


def unreachable(dsn: str, error: psycopg.Error) -> DatabaseUnreachable:
    """Return the error for a DSN that could not be connected to: where, why, what to check.

    It is an `InvalidDsn` where the DSN does not parse.
    """
    try:
        place = describe(dsn)
    except psycopg.ProgrammingError:
        # libpq quotes the part that it does not understand, which may be the password.
        reason = re.sub(r'".*"', '"..."', sentence_of(error), flags=re.DOTALL)
        return InvalidDsn(
            f"the DSN is not valid: {reason}. It looks like postgresql://user:password@host:5432/database "
            "(special characters in the password as %XX) or `host=... dbname=... user=...`"
        )
    if "@" in place.partition("host=")[2].lstrip("'@").split(" ", 1)[0]:
        return InvalidDsn(
            "the DSN is not valid: its host has an `@` in it, which comes from an `@` in the user name or "
            "password that has to be written as %40"
        )
    return DatabaseUnreachable(
        f"no database at `{place}`: {_without_secrets(dsn, sentence_of(error))}. "
        "Check that the server runs and that the DSN is right"
    )


def describe(dsn: str) -> str:
    """Return the DSN in ``name=value`` form without its secrets.

    Raises:
        psycopg.ProgrammingError: It does not parse.
    """
    shown = {name: value for name, value in conninfo_to_dict(dsn).items() if name not in _SECRETS}
    return make_conninfo("", **shown) or "the default server"


def _without_secrets(dsn: str, text: str) -> str:
    secrets = [str(value) for name, value in conninfo_to_dict(dsn).items() if name in _SECRETS and value]
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def sentence_of(error: BaseException) -> str:
    """Return what a database error says, in one line without a full stop.

    That is the server's own message where a server answered (its text goes on with the place in the statement and in
    the functions around it), and all that libpq tells where none did.
    """
    answer = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    lines = [line.strip() for line in (answer or str(error)).splitlines() if line.strip()]
    return "; ".join(lines).rstrip(".") or type(error).__name__
