"""A server that somebody else runs: reach it once, tell its version, never stop it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pgflow_mp.errors import DatabaseUnreachable
from pgflow_mp.postgres.server import Server

if TYPE_CHECKING:
    import psycopg

CONNECT_SECONDS = 10
"""How long to wait for an answer when the DSN does not say (libpq would wait for minutes)."""

_SECRETS = ("password", "sslpassword", "oauth_client_secret")


def from_dsn(dsn: str) -> Server:
    """Return a handle of the server at `dsn`; its `stop` does nothing.

    Raises:
        DatabaseUnreachable: Nothing answers there, or it refuses us; the text hides the password.
    """
    import psycopg

    try:
        version = _version(dsn)
    except psycopg.Error as error:
        raise unreachable(dsn, error) from None
    return Server(dsn=dsn, kind="dsn", version=version)


def _version(dsn: str) -> str:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    limit = {} if "connect_timeout" in conninfo_to_dict(dsn) else {"connect_timeout": CONNECT_SECONDS}
    with psycopg.connect(dsn, autocommit=True, **limit) as conn:  # type: ignore[arg-type]
        told = conn.info.parameter_status("server_version") or str(conn.info.server_version)
    return told.split(" ", 1)[0]


def unreachable(dsn: str, error: psycopg.Error) -> DatabaseUnreachable:
    """Return the error for a DSN that could not be connected to: where, why, what to check."""
    import psycopg

    try:
        place = hidden(dsn)
    except psycopg.ProgrammingError:
        # libpq quotes the part that it does not understand, which may be the password.
        reason = re.sub(r'".*"', '"..."', _sentence(error), flags=re.DOTALL)
        return DatabaseUnreachable(
            f"the DSN is not valid: {reason}. It looks like postgresql://user:password@host:5432/database "
            "(special characters in the password as %XX) or `host=... dbname=... user=...`"
        )
    if "@" in place.partition("host=")[2].lstrip("'@").split(" ", 1)[0]:
        return DatabaseUnreachable(
            "the DSN is not valid: its host has an `@` in it, which comes from an `@` in the user name or "
            "password that has to be written as %40"
        )
    return DatabaseUnreachable(
        f"no database at `{place}`: {_without_secrets(dsn, _sentence(error))}. "
        "Check that the server runs and that the DSN is right"
    )


def hidden(dsn: str) -> str:
    """Return the DSN in ``name=value`` form without its secrets.

    Raises:
        psycopg.ProgrammingError: It does not parse.
    """
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    shown = {name: value for name, value in conninfo_to_dict(dsn).items() if name not in _SECRETS}
    return make_conninfo("", **shown) or "the default server"


def _without_secrets(dsn: str, text: str) -> str:
    from psycopg.conninfo import conninfo_to_dict

    secrets = [str(value) for name, value in conninfo_to_dict(dsn).items() if name in _SECRETS and value]
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _sentence(error: psycopg.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines).rstrip(".") or type(error).__name__
