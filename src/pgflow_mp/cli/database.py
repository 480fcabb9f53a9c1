"""Which database a command talks to, and making it ready.

The DSN is the argument, then ``PGFLOW_DSN`` (D-21). Only `run` does without: it uses the developer's own
embedded database, installs there by itself and lets changed flows replace what was there; the other commands go there
when they are told to, by ``--dev``. A named database is never changed behind its owner's back: without our schema in
it, the error names `pgflow-mp install`.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

from pgflow_mp.cli.exits import UsageError
from pgflow_mp.connecting import DSN_VARIABLE, connect, describe, unreachable
from pgflow_mp.core.refusals import spoken, why_not_installed
from pgflow_mp.core.statement import execute
from pgflow_mp.errors import NotInstalled

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from pgflow_mp.cli.screen import Display
    from pgflow_mp.core.statement import Statement

T = TypeVar("T")


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


@contextmanager
def named(arguments: argparse.Namespace) -> Iterator[str]:
    """The DSN for a command that cannot do without: ``--dsn``, the environment's, or the one that ``--dev`` means.

    Raises:
        UsageError: None was given.
        ServerUnavailable: No embedded server can be had.
    """
    if arguments.dev:
        from pgflow_mp.cli.screen import display

        with _development(display()) as database:
            yield database.dsn
        return
    dsn = given_dsn(arguments.dsn)
    if dsn is None:
        raise UsageError(
            f"`pgflow-mp {arguments.command}` needs a database: pass --dsn DSN or set {DSN_VARIABLE}; "
            "--dev means your development database, the one that `pgflow-mp run` uses"
        )
    yield dsn


@contextmanager
def opened(arguments: argparse.Namespace, screen: Display) -> Iterator[Database]:
    """The named database, or the development database, started or joined and made ready.

    Args:
        arguments: Its ``--dsn`` and ``--dev``.
        screen: Told what takes a moment, and what was installed.

    Raises:
        ServerUnavailable: No DSN was given and no embedded server can be had.
        InvalidDsn: The DSN does not parse.
    """
    dsn = None if arguments.dev else given_dsn(arguments.dsn)
    if dsn is not None:
        yield Database(dsn, f"database {_described(dsn)}", is_development=False)
        return
    with _development(screen) as database:
        yield database


@contextmanager
def _development(screen: Display) -> Iterator[Database]:
    from pgflow_mp.core.install import install
    from pgflow_mp.postgres import development

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


@dataclass(frozen=True, slots=True)
class Session:
    """A connection on which a command asks its questions, one transaction each.

    Attributes:
        dsn: The database.
        conn: The connection, in autocommit mode.
    """

    dsn: str
    conn: psycopg.Connection[Any]

    def ask(self, statement: Statement[T], doing: str = "this command") -> T:
        """Run the statement; what the database refuses is said in the words of the API.

        Args:
            statement: What to run.
            doing: The subject of a sentence that it is not permitted.
        """
        with spoken(doing):
            return execute(self.conn, statement)


@contextmanager
def session(arguments: argparse.Namespace) -> Iterator[Session]:
    """A session in the command's database.

    Raises:
        DatabaseUnreachable: No connection could be made.
        NotInstalled: Our functions are not there; says what is there instead.
    """
    with named(arguments) as dsn, connect(dsn, purpose=arguments.command) as conn:
        try:
            yield Session(dsn, conn)
        except NotInstalled as error:
            raise why_not_installed(conn) from error


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
            raise why_not_installed(conn) from error


def _described(dsn: str) -> str:
    try:
        return describe(dsn)
    except psycopg.ProgrammingError as error:
        raise unreachable(dsn, error) from None
