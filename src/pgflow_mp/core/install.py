"""Make a database ready for pgflow: pgmq, schema pgflow (the contract), schema pgflow_mp (ours).

Everything happens in one transaction under an advisory lock: two installers wait for each other, and one that fails
leaves nothing behind. `pgflow_mp.installed` remembers the version of the tables, a digest of all function files and
the functions that we made. A second run therefore does only what is left to do:

- tables: the migrations above the installed version, in order;
- functions: all of them again when any file changed (or another variant of one fits since the database got or lost
  its realtime service); a changed signature replaces the old function with its grants, one that we no longer have is
  dropped;
- pgmq: only when it is not there (see `pgmq`).

A schema pgflow that somebody else made is never touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import conninfo
from psycopg.rows import tuple_row

import pgflow_mp
from pgflow_mp.core import pgmq, replace, scripts
from pgflow_mp.errors import DatabaseUnreachable, InstallError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["install"]

_Connection = psycopg.Connection[Any]

_OLDEST_SERVER = 14
_LOCK = "pgflow_mp.install"
_WAIT_FOR_INSTALLER = "60s"
_WAIT_FOR_TABLE = "5s"

# Whether the platform's event service is here, with exactly this signature (core 1.4).
_REALTIME = "select to_regprocedure('realtime.send(jsonb,text,text,boolean)') is not null"

# Anything at all in a schema: an empty one may have been made for us.
_OCCUPIED = """
select exists (select 1 from pg_catalog.pg_class where relnamespace = to_regnamespace(%(schema)s))
    or exists (select 1 from pg_catalog.pg_proc where pronamespace = to_regnamespace(%(schema)s))
"""

_REMEMBER = """
insert into pgflow_mp.installed (version, content_hash, functions, package_version, pgmq)
values (%(version)s, %(content_hash)s, %(functions)s, %(package_version)s, %(pgmq)s)
on conflict (only_row) do update
set version = excluded.version,
    content_hash = excluded.content_hash,
    functions = excluded.functions,
    package_version = excluded.package_version,
    updated_at = now()
"""


def install(target: str | _Connection, *, folder: Traversable | None = None) -> list[str]:
    """Install or update pgflow in a database (PostgreSQL 14 or later), all or nothing.

    Args:
        target: A DSN, or an open connection; on a connection with an open transaction the install is part of it.
        folder: The SQL files, when not those of the package.

    Returns:
        One line for each thing looked at: what was done, or that there was nothing to do.

    Raises:
        DatabaseUnreachable: No connection could be made.
        InstallError: The database cannot be made ready; says why and what to do. Nothing was changed.
    """
    if isinstance(target, psycopg.Connection):
        return _install(target, folder or scripts.root())
    with _connect(target) as conn:
        return _install(conn, folder or scripts.root())


def _connect(dsn: str) -> _Connection:
    try:
        return psycopg.connect(dsn, autocommit=True)
    except psycopg.ProgrammingError as error:
        raise DatabaseUnreachable(f"This is no valid DSN: {error}") from error
    except psycopg.OperationalError as error:
        raise DatabaseUnreachable(f"Cannot reach {_place(dsn)}: {_first_line(error)}") from error


def _place(dsn: str) -> str:
    """Name the database of `dsn` without its password."""
    parts = conninfo.conninfo_to_dict(dsn)
    return f"database {parts.get('dbname', 'default')!r} on {parts.get('host') or 'the local socket'!s}"


def _install(conn: _Connection, folder: Traversable) -> list[str]:
    """Do the work of `install` on `conn`, and turn what the database refuses into a sentence."""
    if conn.info.server_version // 10000 < _OLDEST_SERVER:
        raise InstallError(
            f"pgflow needs PostgreSQL {_OLDEST_SERVER} or later; "
            f"this server is version {conn.info.server_version // 10000}."
        )
    try:
        with conn.transaction():
            return _install_locked(conn, folder)
    except psycopg.errors.InsufficientPrivilege as error:
        raise InstallError(
            f"Role {conn.info.user!r} may not install into database {conn.info.dbname!r}: {_first_line(error)}. "
            f"Run it as the database's owner, or grant create on the database to the role. Nothing was changed."
        ) from error
    except psycopg.errors.LockNotAvailable as error:
        raise InstallError(
            f"Database {conn.info.dbname!r} is busy: another install, or a transaction that holds pgflow's tables, "
            "did not end in time. Nothing was changed; try again when it has."
        ) from error
    except (psycopg.errors.DependentObjectsStillExist, psycopg.errors.ReadOnlySqlTransaction) as error:
        raise InstallError(f"{_first_line(error)}. Nothing was changed. {error.diag.message_detail or ''}") from error
    except psycopg.OperationalError as error:
        raise DatabaseUnreachable(f"The connection was lost, nothing was changed: {_first_line(error)}") from error


def _install_locked(conn: _Connection, folder: Traversable) -> list[str]:
    conn.execute(f"set local lock_timeout = '{_WAIT_FOR_INSTALLER}'")
    conn.execute("select pg_advisory_xact_lock(hashtext(%s))", (_LOCK,))
    conn.execute(f"set local lock_timeout = '{_WAIT_FOR_TABLE}'")
    conn.execute("set local check_function_bodies = off")  # functions may call what a later file creates
    conn.execute("set local client_min_messages = warning")

    before = _installed(conn)
    if before is None:
        _refuse_foreign_schema(conn)
    how, pgmq_line = pgmq.ensure(conn)
    version, tables_line = _bring_tables(conn, folder, before[0] if before else 0)
    realtime = bool(_value(conn, _REALTIME))
    wanted = scripts.functions(folder, realtime=realtime)
    wanted_hash = scripts.content_hash(wanted)
    lines = [pgmq_line, tables_line]
    if before is not None and before[:2] == (version, wanted_hash):
        return [*lines, "functions: unchanged, nothing to do"]
    kept = before[2] if before else []
    made = replace.functions(conn, wanted, kept)
    _remember(conn, version, wanted_hash, made, how)
    events = "sent through realtime.send" if realtime else "not sent, this database has no realtime.send"
    return [*lines, f"functions: {'updated' if before else 'created'} ({len(made)})", f"events: {events}"]


def _installed(conn: _Connection) -> tuple[int, str, list[str]] | None:
    """Return version, digest and functions of what we installed here, if anything."""
    if _value(conn, "select to_regclass('pgflow_mp.installed')") is None:
        return None
    cursor = conn.cursor(row_factory=tuple_row)
    found = cursor.execute("select version, content_hash, functions from pgflow_mp.installed").fetchone()
    assert found is not None
    return found[0], found[1], found[2]


def _refuse_foreign_schema(conn: _Connection) -> None:
    for schema in ("pgflow", "pgflow_mp"):
        if _value(conn, _OCCUPIED, {"schema": schema}):
            raise InstallError(
                f"Database {conn.info.dbname!r} has a schema {schema} that pgflow-mp did not install; "
                "it was left as it is. Install into another database."
            )


def _bring_tables(conn: _Connection, folder: Traversable, installed: int) -> tuple[int, str]:
    """Run the migrations above version `installed`; return the version now and the line that says so."""
    versions = scripts.migrations(folder)
    newest = versions[-1][0]
    if installed > newest:
        raise InstallError(
            f"This database has version {installed} of pgflow's tables, this package knows up to {newest}: "
            "it was installed by a later pgflow-mp. Update the package. Nothing was changed."
        )
    if installed == newest:
        return newest, f"tables: version {newest} is current, nothing to do"
    if installed == 0:
        _create_schemas(conn)
    for version, steps in versions:
        for script in steps if version > installed else ():
            conn.execute(script.sql.encode())
    done = f"migrated from version {installed} to {newest}" if installed else f"created, version {newest}"
    return newest, f"tables: {done}"


def _create_schemas(conn: _Connection) -> None:
    for schema in ("pgflow", "pgflow_mp"):
        if _value(conn, "select to_regnamespace(%s)", (schema,)) is None:
            conn.execute(f"create schema {schema}".encode())
        conn.execute(f"revoke all on schema {schema} from public".encode())  # core E-3


def _remember(conn: _Connection, version: int, content_hash: str, functions: list[str], how: str) -> None:
    conn.execute(
        _REMEMBER,
        {
            "version": version,
            "content_hash": content_hash,
            "functions": functions,
            "package_version": pgflow_mp.__version__,
            "pgmq": how,
        },
    )


def _value(conn: _Connection, query: str, params: Any = None) -> Any:  # noqa: ANN401 - one column of any type
    found = conn.cursor(row_factory=tuple_row).execute(query.encode(), params).fetchone()
    return found[0] if found else None


def _first_line(error: psycopg.Error) -> str:
    return (error.diag.message_primary or str(error)).strip().partition("\n")[0].rstrip(".")
