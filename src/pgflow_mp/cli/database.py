"""Which database a command talks to, and making it ready.

The DSN is the argument, then ``PGFLOW_DSN`` (D-21). Only `run` does without: it uses the developer's own
embedded database, installs there by itself and lets changed flows replace what was there. A named database is
never changed behind its owner's back: without our schema in it, the error names `pgflow-mp install`.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from pgflow_mp.cli.exits import UsageError
from pgflow_mp.connecting import DSN_VARIABLE, connect, describe, unreachable
from pgflow_mp.core.install import install
from pgflow_mp.core.refusals import not_installed
from pgflow_mp.errors import NotInstalled
from pgflow_mp.postgres import development

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.cli.screen import Display


@dataclass(frozen=True, slots=True)
class Database:
    """A database that a command works on.

    Attributes:
        dsn: libpq connection string or URL.
        title: What to call it in a line for a person; never a password.
        is_development: Whether it is the user's own embedded one, which follows the code (D-17).
    """

    dsn: str
    title: str
    is_development: bool


def given_dsn(option: str | None) -> str | None:
    """The DSN of ``--dsn``, else of the environment; None when neither is set.

    Raises:
        UsageError: It is set and empty: a script's variable that was never filled must not mean another database.
    """
    name, dsn = ("--dsn", option) if option is not None else (DSN_VARIABLE, os.environ.get(DSN_VARIABLE))
    if dsn is not None and not dsn.strip():
        raise UsageError(f"{name} is empty: name a database, or leave it out")
    return dsn


def required_dsn(option: str | None, command: str) -> str:
    """The DSN, for a command that cannot do without.

    Raises:
        UsageError: None was given.
    """
    dsn = given_dsn(option)
    if dsn is None:
        raise UsageError(f"`pgflow-mp {command}` needs a database: pass --dsn DSN or set {DSN_VARIABLE}")
    return dsn


@contextmanager
def opened(option: str | None, screen: Display) -> Iterator[Database]:
    """The named database, or the development database, started or joined and made ready.

    Args:
        option: The value of ``--dsn``.
        screen: Told what takes a moment, and what was installed.

    Raises:
        ServerUnavailable: No DSN was given and no embedded server can be had.
        InvalidDsn: The DSN does not parse.
    """
    dsn = given_dsn(option)
    if dsn is not None:
        yield Database(dsn, f"database {_described(dsn)}", is_development=False)
        return
    with ExitStack() as stack:
        with screen.waiting("starting your development database"):
            server = stack.enter_context(development())
            done = install(server.dsn)
        for line in done:
            if not line.endswith("nothing to do"):
                screen.say(f"development database: {line}")
        yield Database(
            server.dsn,
            f"development database, {server.kind} PostgreSQL {server.version}",
            is_development=True,
        )


@contextmanager
def transaction(dsn: str, purpose: str) -> Iterator[psycopg.Connection[Any]]:
    """One transaction on a connection of its own.

    Raises:
        DatabaseUnreachable: No connection could be made.
        NotInstalled: Our functions are not there; says what is there instead.
    """
    with connect(dsn, purpose=purpose) as conn:
        try:
            with conn.transaction():
                yield conn
        except NotInstalled as error:
            raise not_installed(conn) from error


def _described(dsn: str) -> str:
    try:
        return describe(dsn)
    except psycopg.ProgrammingError as error:
        raise unreachable(dsn, error) from None
