"""Databases for tests: a template made once, a clone for each test, and nothing left behind.

The template holds pgmq and both schemas. Its name carries a hash of all that went into it, and it gets
that name only when it is complete, so a template that can be found can be used: by the next test, by the
other workers of xdist, by another session on the same server. It refuses connections, because a single
connection to it would make every clone wait.

What belongs to whom can be read off the server itself. Our databases are named
``pgflow_t_<session>_<worker>_<number>``, and each worker keeps one connection open whose
``application_name`` says the same session and the template. Databases of a session that has no connection
left were abandoned by a killed run, and are dropped here; nothing that is named differently ever is.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import itertools
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import errors as pg_errors
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgflow_mp.connecting import connect
from pgflow_mp.core.install import install
from pgflow_mp.errors import DatabaseUnreachable, PgflowError
from pytest_pgflow import _reset
from pytest_pgflow._handing_on import HandedOn
from pytest_pgflow._spares import Spares

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_pgflow._migrations import Migrations

# Serialises building and dropping templates on one server; any constant of our own would do.
_TEMPLATE_LOCK = 0x7067_666C_6F77
_GONE_SECONDS = 1.0
_STRATEGIES_SINCE = 150000
_numbers = itertools.count(1)

# Background processes are the server's own business where we may not end them.
_END_SESSIONS = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = %s and (backend_type = 'client backend' or current_setting('is_superuser')::boolean)
"""

_ABANDONED = """
    select d.datname
    from pg_database as d
    where d.datname ~ '^pgflow_t_[0-9a-z]{8}_(main|gw[0-9]+)_[0-9]+$'
      and d.datdba = (select oid from pg_roles where rolname = current_user)
      and not exists (
        select from pg_stat_activity as a
        where a.application_name like 'pgflow tests ' || split_part(d.datname, '_', 3) || '%'
      )
"""


_TEMPLATES = "select datname from pg_database where datname ~ '^pgflow_template_[0-9a-f]{12}$' and datname <> %s"


class Databases:
    """The databases that one worker of a test session makes on one server.

    Args:
        dsn: The server, and a database on it to give orders from. That database itself is not touched.
        session: Eight letters or digits, the same in all xdist workers of the session, different in others.
        worker: The xdist worker, or ``main``.
        migrations: What the template gets before pgflow-mp.
        setup: Called with the DSN of the new template, to add what the application under test needs.
        shared: Whether others use the server too, now or later, and its leftovers matter.
        hasty: Whether the server's data may be lost, so that what it writes need not be logged.
        lasting: Whether the template stays for the next session.
    """

    def __init__(
        self,
        dsn: str,
        *,
        session: str,
        worker: str = "main",
        migrations: Migrations | None = None,
        setup: Callable[[str], object] | None = None,
        shared: bool = True,
        hasty: bool = False,
        lasting: bool = False,
    ) -> None:
        self._dsn = dsn
        self._session = session
        self._worker = worker
        self._migrations = migrations
        self._setup = setup
        self._shared = shared
        self._hasty = hasty
        self._lasts = lasting
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._template: str | None = None
        self._lasting: dict[str, HandedOn] = {}
        self._bookkeeping: frozenset[tuple[str, str]] | None = None
        self._free: list[HandedOn] = []
        self.spares = Spares()
        self._alive: set[str] = set()

    def create(self, *, empty: bool = False) -> str:
        """Make a database, a clone of the template unless ``empty``, and return its DSN."""
        name = self._next_name()
        if empty:
            self._order("create database {} template template0", name)
        else:
            self._clone(name)
        self._alive.add(name)
        return make_conninfo(self._dsn, dbname=name)

    def lasting(self, name: str) -> HandedOn:
        """Return the database of that name which stays until `close`; make it on first use."""
        if name not in self._lasting:
            self._lasting[name] = self._new(lasts=True)
        return self._lasting[name]

    def lend(self) -> HandedOn:
        """Return a database that holds nothing and that nobody has seen; `take_back` it, or `drop` its DSN."""
        while self._free:
            handed_on = self._free.pop()
            try:
                handed_on.begin()
            except psycopg.Error:
                self.drop(handed_on.dsn)
            else:
                return handed_on
        return self._new()

    def take_back(self, handed_on: HandedOn) -> None:
        """Keep a database for the next test if nobody has seen it, or drop it.

        What others have put into the template may write by itself when the runner does, such as a trigger: nobody
        knows then what a test has left.
        """
        if handed_on.may_go_on and self._setup is None and self._migrations is None:
            self._free.append(handed_on)
        else:
            self.drop(handed_on.dsn)

    def drop(self, dsn: str) -> None:
        """Drop a database that `create` made, whoever is still connected to it."""
        name = database_name(dsn)
        self.spares.forget([dsn])
        self._disconnect(name)
        self._order("drop database if exists {} with (force)", name)
        self._alive.discard(name)

    def keep(self, dsn: str) -> None:
        """Rename a database to what `kept_dsn` says, so that no session's sweep takes it."""
        name = database_name(dsn)
        self.spares.forget([dsn])
        self._disconnect(name)
        self._order("alter database {} rename to {}", name, database_name(kept_dsn(dsn)))
        self._alive.discard(name)

    def close(self) -> None:
        """Drop what is left of our databases, and the template unless another session uses it; hang up."""
        self.spares.forget()
        if self._connection is None:
            return
        # A server that died during the session took everything along; its tests have failed already.
        with suppress(psycopg.OperationalError, DatabaseUnreachable):
            for name in sorted(self._alive):
                self._disconnect(name)
                self._order("drop database if exists {} with (force)", name)
            if self._template and self._shared and not self._lasts:
                self._drop_template(self._template)
        self._connection.close()
        self._connection = None

    def _new(self, *, lasts: bool = False) -> HandedOn:
        dsn = self.create()
        if self._bookkeeping is None:  # the same in every clone
            with connect(dsn, purpose="tests") as conn:
                self._bookkeeping = _reset.bookkeeping(conn)
        return HandedOn(dsn, self._bookkeeping, self.spares, lasts=lasts)

    def _clone(self, name: str) -> None:
        for _ in range(3):
            template = self._template or self._find_or_build()
            try:
                self._order(self._clone_statement(), name, template)
            except pg_errors.InvalidCatalogName:
                # The last other session that used the template dropped it before it saw us.
                self._template = None
            else:
                return
        raise RuntimeError(f"the template database {template} disappeared three times in a row")

    def _clone_statement(self) -> LiteralString:
        """Copying files takes two checkpoints and no WAL: fast where no disk waits, bad manners on a real server."""
        if not self._hasty or self._admin().info.server_version < _STRATEGIES_SINCE:
            return "create database {} template {}"
        return "create database {} template {} strategy file_copy"

    def _find_or_build(self) -> str:
        admin = self._admin()
        if self._setup is not None or (self._migrations is not None and self._migrations.digest is None):
            # What a function does cannot be hashed, so its template is this worker's own.
            self._template = self._build(self._next_name())
            return self._template
        name = self._template_name()
        self._call_ourselves(f"{self._mark()} {name}")
        admin.execute("select pg_advisory_lock(%s)", [_TEMPLATE_LOCK])
        try:
            if not self._exists(name):
                self._order("alter database {} rename to {}", self._build(self._next_name()), name)
                if self._hasty and self._lasts:
                    self._drop_former_templates(name)
        finally:
            admin.execute("select pg_advisory_unlock(%s)", [_TEMPLATE_LOCK])
        self._template = name
        return name

    def _build(self, name: str) -> str:
        self._order("create database {} template template0", name)
        dsn = make_conninfo(self._dsn, dbname=name)
        try:
            if self._migrations is not None:
                self._migrations.run(dsn)
            install(dsn)
            if self._setup is not None:
                self._setup(dsn)
            self._order("alter database {} with allow_connections false", name)
            self._disconnect(name)
        except BaseException:
            self._order("drop database if exists {} with (force)", name)
            raise
        return name

    def _disconnect(self, name: str) -> None:
        """End the sessions in a database and see them go.

        A connection that was just closed leaves within milliseconds. A statement that needs the database for
        itself looks only every 100 ms whether it has (CountOtherDBBackends in PostgreSQL's procarray.c).
        """
        deadline = time.monotonic() + _GONE_SECONDS
        while self._admin().execute(_END_SESSIONS, [name]).rowcount and time.monotonic() < deadline:
            time.sleep(0.001)

    def _drop_template(self, name: str) -> None:
        """Drop a template that no other session has put into its `application_name`."""
        admin = self._admin()
        admin.execute("select pg_advisory_lock(%s)", [_TEMPLATE_LOCK])
        try:
            # Under the lock, and not by hanging up: a connection that was closed is seen for a moment longer.
            self._call_ourselves(self._mark())
            users = admin.execute(
                "select count(*) from pg_stat_activity where application_name like %s", [f"pgflow tests % {name}"]
            ).fetchone()
            if users == (0,):
                self._order("drop database if exists {}", name)
        finally:
            admin.execute("select pg_advisory_unlock(%s)", [_TEMPLATE_LOCK])

    def _drop_former_templates(self, newest: str) -> None:
        """Drop the templates of other versions of the SQL, which would gather on a server that is used again.

        A session of another version that misses its own makes it again.
        """
        found = self._admin().execute(_TEMPLATES, [newest]).fetchall()
        for (name,) in found:
            with suppress(pg_errors.ObjectInUse):
                self._order("drop database if exists {}", name)

    def _exists(self, name: str) -> bool:
        return self._admin().execute("select from pg_database where datname = %s", [name]).fetchone() is not None

    def _template_name(self) -> str:
        version, pgmq = self._admin().execute(
            "select current_setting('server_version_num'),"
            " (select default_version from pg_available_extensions where name = 'pgmq')"
        ).fetchone() or ("", "")
        before = self._migrations.digest if self._migrations else ""
        digest = hashlib.sha256(f"{_sources_digest()} {version} {pgmq} {before}".encode()).hexdigest()[:12]
        return f"pgflow_template_{digest}"

    def _next_name(self) -> str:
        return f"pgflow_t_{self._session}_{self._worker}_{next(_numbers)}"

    def _admin(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed or self._connection.broken:
            self._template = None
            self._connection = connect(self._dsn, purpose="tests")
            self._call_ourselves(self._mark())
            if self._shared:
                self._sweep()
        return self._connection

    def _call_ourselves(self, name: str) -> None:
        self._admin().execute("select set_config('application_name', %s, false)", [name])

    def _mark(self) -> str:
        return f"pgflow tests {self._session}"

    def _sweep(self) -> None:
        """Drop databases of sessions that have no connection left: a killed run cannot tidy up."""
        abandoned = self._admin().execute(_ABANDONED).fetchall()
        for (name,) in abandoned:
            self._order("drop database if exists {} with (force)", name)

    def _order(self, statement: LiteralString, *names: str) -> None:
        query = sql.SQL(statement).format(*map(sql.Identifier, names))
        try:
            self._admin().execute(query)
        except pg_errors.InsufficientPrivilege as error:
            raise PgflowError(
                f"{str(error).strip()}: tests need a role that may create databases"
                f' (alter role "{self._admin().info.user}" createdb)'
            ) from error


def kept_dsn(dsn: str) -> str:
    """Return the DSN that a test's database has when it outlives the test."""
    return make_conninfo(dsn, dbname=database_name(dsn).replace("pgflow_t_", "pgflow_kept_"))


def database_name(dsn: str) -> str:
    """Return the name of the database that a DSN points at."""
    return str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])


def session_name() -> str:
    """Return a new name for a session that is not part of an xdist run."""
    return uuid.uuid4().hex[:8]


@functools.cache
def _sources_digest() -> str:
    """Hash the SQL that `install` may load: pgmq's and ours."""
    digest = hashlib.sha256()
    for package in ("pgmq", "pgflow_mp.core"):
        # Found, not imported: pgmq's client pulls in far more than its SQL.
        spec = importlib.util.find_spec(package)
        folder = (
            Path(spec.submodule_search_locations[0]) / "sql" if spec and spec.submodule_search_locations else Path()
        )
        for file in sorted(folder.rglob("*.sql")):
            digest.update(f"{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()
