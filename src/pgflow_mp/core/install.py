"""Make a database ready for pgflow: pgmq, schema pgflow (the contract), schema pgflow_mp (ours).

Everything happens in one transaction under an advisory lock: two installers wait for each other, and one that
fails leaves nothing behind. `pgflow_mp.installed` remembers the version of the tables, a digest of all function
files and the functions that we made. A second run therefore does only what is left to do:

- pgmq: only when it is not there (see `pgmq`);
- tables: the migrations above the installed version, in order;
- functions: all of them again when any file changed, or when another variant of one fits since the database got or
  lost its realtime service (see `replace`).

A schema pgflow that somebody else made is never touched: where its core can be served, our functions are made beside it
(see `beside`), in schema pgflow_mp alone. `pgflow_mp.installed` remembers the mode, and of a foreign core what the
functions were made for; when that has changed, they are made anew.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg.rows import tuple_row

import pgflow_mp
from pgflow_mp.connecting import connect, sentence_of
from pgflow_mp.core import beside, pgmq, replace, roles, scripts
from pgflow_mp.core.generation import Core, probe
from pgflow_mp.core.scripts import Script
from pgflow_mp.core.statement import execute
from pgflow_mp.errors import DatabaseUnreachable, InstallError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from importlib.resources.abc import Traversable

__all__ = ["REALTIME", "check_server", "install", "set_up_transaction"]

_Connection = psycopg.Connection[Any]

_OLDEST_SERVER = 14
_SCHEMAS = ("pgflow", "pgflow_mp")
_LOCK = "pgflow_mp.install"
_SETTINGS = ("client_min_messages", "check_function_bodies", "lock_timeout", "search_path")
_WAIT_FOR_INSTALLER = "60s"
_WAIT_FOR_TABLE = "5s"

# Whether the platform's event service is here, with exactly this signature (core 1.4).
REALTIME = "select to_regprocedure('realtime.send(jsonb,text,text,boolean)') is not null"

# Anything at all in a schema: an empty one may have been made for us.
_OCCUPIED = """
select exists (select from pg_catalog.pg_class as c where c.relnamespace = n.oid)
    or exists (select from pg_catalog.pg_proc as p where p.pronamespace = n.oid)
from pg_catalog.pg_namespace as n
where n.nspname = %s
"""

_REMEMBER = """
insert into pgflow_mp.installed (version, content_hash, functions, package_version, pgmq)
values (%s, %s, %s, %s, %s)
on conflict (only_row) do update
set version = excluded.version,
    content_hash = excluded.content_hash,
    functions = excluded.functions,
    package_version = excluded.package_version,
    updated_at = now()
"""
_REMEMBER_CORE = "update pgflow_mp.installed set mode = 'beside', core = %s, core_fingerprint = %s"


class _Installed(NamedTuple):
    """What an earlier install left: see pgflow_mp.installed."""

    version: int
    content_hash: str
    functions: list[str]
    beside: bool
    fingerprint: str | None


_NOTHING = _Installed(0, "", [], beside=False, fingerprint=None)

# As JSON, because tables of an earlier version have fewer columns.
_INSTALLED = """
select i.version, i.content_hash, i.functions, to_jsonb(i) ->> 'mode' = 'beside', to_jsonb(i) ->> 'core_fingerprint'
from pgflow_mp.installed as i
"""


def install(
    target: str | _Connection,
    *,
    worker_roles: Sequence[str] = (),
    client_roles: Sequence[str] = (),
    folder: Traversable | None = None,
) -> list[str]:
    """Install or update pgflow in a database (PostgreSQL 14 or later), all or nothing.

    Args:
        target: A DSN, or an open connection; when that has a transaction open, the install is part of it.
        worker_roles: Roles that workers connect as; they get what a worker needs and no more (see `roles`).
        client_roles: Roles that applications connect as, to start and read runs.
        folder: The SQL files, when not those of the package.

    Returns:
        One line for each thing looked at: what was done, or that there was nothing to do.

    Raises:
        DatabaseUnreachable: No connection could be made, or it was lost.
        InstallError: The database cannot be made ready; says why and what to do. Nothing was changed.
    """
    grants = partial(roles.grant, workers=worker_roles, clients=client_roles)
    if isinstance(target, psycopg.Connection):
        return _install(target, folder or scripts.root(), grants)
    with connect(target, purpose="install") as conn:
        return _install(conn, folder or scripts.root(), grants)


def _install(conn: _Connection, folder: Traversable, grants: Callable[[_Connection], list[str]]) -> list[str]:
    """Do the work of `install` on `conn`, and turn what the database refuses into a sentence."""
    check_server(conn)
    database = conn.info.dbname
    try:
        with conn.transaction(), _settings_given_back(conn):
            return _install_locked(conn, folder) + grants(conn)
    except psycopg.errors.InsufficientPrivilege as error:
        raise InstallError(
            f"role {conn.info.user!r} may not install into database {database!r}: {sentence_of(error)}; "
            "run it as the database's owner, or grant the role create on the database. Nothing was changed."
        ) from error
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        raise InstallError(
            f"database {database!r} is busy: another install, or a transaction that holds pgflow's tables, "
            "did not end in time; try again when it has. Nothing was changed."
        ) from error
    except psycopg.errors.DependentObjectsStillExist as error:
        raise InstallError(
            f"something in database {database!r} depends on an old form of a function: {sentence_of(error)}: "
            f"{error.diag.message_detail}; drop it, install, and create it again. Nothing was changed."
        ) from error
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise InstallError(
            f"database {database!r} is read-only (a standby?): {sentence_of(error)}; install on its primary."
        ) from error
    except psycopg.OperationalError as error:
        raise DatabaseUnreachable(f"the install was interrupted, nothing was changed: {sentence_of(error)}") from error


def check_server(conn: _Connection) -> None:
    """Refuse a server that is too old, as a sentence."""
    server = conn.info.server_version // 10000
    if server < _OLDEST_SERVER:
        raise InstallError(f"pgflow needs PostgreSQL {_OLDEST_SERVER} or later; this server is version {server}.")


def _install_locked(conn: _Connection, folder: Traversable) -> list[str]:
    set_up_transaction(conn)
    before = _installed(conn)
    core = _foreign_core(conn, before)
    how, pgmq_line = pgmq.ensure(conn)
    version, tables_line = _bring_tables(conn, folder, before.version, beside=core is not None)

    realtime = core.realtime if core else bool(_value(conn, REALTIME))
    views = beside.views(core) if core else {}
    wanted = beside.render(folder, core) if core else scripts.functions(folder, realtime=realtime)
    content_hash = scripts.content_hash([*(Script(name, text) for name, text in views.items()), *wanted])
    lines = [pgmq_line, tables_line]
    fingerprint = core and core.fingerprint
    if (before.version, before.content_hash, before.fingerprint) == (version, content_hash, fingerprint):
        return [*lines, *_core_lines(core, before), "functions: unchanged, nothing to do"]
    if core is not None:
        beside.replace_views(conn, views)
    made = replace.functions(conn, wanted, before.functions)
    conn.execute(_REMEMBER, (version, content_hash, made, pgflow_mp.__version__, how))
    if core is not None:
        conn.execute(_REMEMBER_CORE, (core.name, core.fingerprint))
    return [
        *lines,
        *_core_lines(core, before),
        f"functions: {'created' if before is _NOTHING else 'updated'}, {len(made)}",
        f"events: {'sent by realtime.send' if realtime else 'not sent, there is no realtime.send here'}",
    ]


def _foreign_core(conn: _Connection, before: _Installed) -> Core | None:
    """Return the core of somebody else beside which we install; None where schema pgflow is ours, or nobody's yet.

    Raises:
        InstallError: It cannot be served, or this role may not work on it.
    """
    database = conn.info.dbname
    if before is _NOTHING and _value(conn, _OCCUPIED, ("pgflow_mp",)):
        raise InstallError(
            f"database {database!r} has a schema pgflow_mp that pgflow-mp did not make; "
            "it was left as it is. Install into another database."
        )
    if before is not _NOTHING and not before.beside:
        return None
    core = execute(conn, probe())
    if core.made_by == "nobody":
        return None
    if why := _why_not(core):
        raise InstallError(
            f"database {database!r} has a schema pgflow that pgflow-mp did not make and cannot work with: {why}. "
            "It was left as it is. Install into another database."
        )
    if left := roles.lacking(conn, conn.info.user, installer=True):
        raise InstallError(
            f"role {conn.info.user!r} may not work on the schema pgflow that somebody else made in database "
            f"{database!r}; let its owner run: {'; '.join(left)}. Nothing was changed."
        )
    return core


def _why_not(core: Core) -> str | None:
    """Tell why we cannot stand beside a core; None where we can."""
    if core.made_by == "pgflow-mp":
        return "it is one of pgflow-mp whose schema pgflow_mp is gone, and with it what the core needs"
    if core.tier is not None and core.pgmq is None:
        return "there is no pgmq, which has its queues"
    return core.reason


def _core_lines(core: Core | None, before: _Installed) -> list[str]:
    """Say beside whose core we stand, if it is somebody else's."""
    if core is None:
        return []
    if before is _NOTHING:
        return [f"core: {core.name}, made by somebody else; pgflow-mp stands beside it and has changed nothing of it"]
    if before.fingerprint != core.fingerprint:
        return [f"core: {core.name}, was changed since the last install; our functions are made for it as it is now"]
    return [f"core: {core.name}, the same as before, nothing to do"]


@contextmanager
def _settings_given_back(conn: _Connection) -> Iterator[None]:
    """Leave the settings that an install changes as they were: the transaction may be a caller's, and go on.

    A failed install needs nothing: its savepoint, or the whole transaction, takes them back.
    """
    before = {name: _value(conn, "select current_setting(%s)", (name,)) for name in _SETTINGS}
    yield
    for name, value in before.items():
        _value(conn, "select set_config(%s, %s, true)", (name, value))


def set_up_transaction(conn: _Connection) -> None:
    """Become the only installer, and set what holds until the install ends."""
    conn.execute("set local client_min_messages = warning")
    conn.execute("set local check_function_bodies = off")  # a function may call what a later file creates
    conn.execute(f"set local lock_timeout = '{_WAIT_FOR_INSTALLER}'")
    conn.execute("select pg_advisory_xact_lock(hashtext(%s))", (_LOCK,))
    conn.execute(f"set local lock_timeout = '{_WAIT_FOR_TABLE}'")


def _installed(conn: _Connection) -> _Installed:
    if _value(conn, "select to_regclass('pgflow_mp.installed')") is None:
        return _NOTHING
    found = conn.cursor(row_factory=tuple_row).execute(_INSTALLED).fetchone()
    return _Installed(*found) if found else _NOTHING


def _bring_tables(conn: _Connection, folder: Traversable, installed: int, *, beside: bool) -> tuple[int, str]:
    """Run the migrations above version `installed`; return the version now and the line that says so."""
    versions = scripts.migrations(folder, beside=beside)
    newest = versions[-1][0]
    if installed > newest:
        raise InstallError(
            f"database {conn.info.dbname!r} has version {installed} of pgflow's tables and this package knows "
            f"version {newest}: a later pgflow-mp installed it. Update the package. Nothing was changed."
        )
    if installed == newest:
        return newest, f"tables: version {newest} is current, nothing to do"
    if installed == 0:
        _create_schemas(conn, ("pgflow_mp",) if beside else _SCHEMAS)
    for version, parts in versions:
        for script in parts if version > installed else ():
            conn.execute(script.sql.encode())
    return newest, f"tables: {f'migrated from version {installed} to' if installed else 'created,'} version {newest}"


def _create_schemas(conn: _Connection, schemas: Iterable[str]) -> None:
    for schema in schemas:
        if _value(conn, "select to_regnamespace(%s)", (schema,)) is None:
            conn.execute(f"create schema {schema}".encode())
        conn.execute(f"revoke all on schema {schema} from public".encode())  # core E-3


def _value(conn: _Connection, query: str, params: tuple[str, ...] = ()) -> Any:
    found = conn.cursor(row_factory=tuple_row).execute(query.encode(), params).fetchone()
    return found[0] if found else None
