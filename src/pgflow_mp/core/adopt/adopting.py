"""An adoption: planned, and carried out when told to.

A plan takes no lock that others would wait for. Carried out, it is one transaction: the tables are locked first, in
short attempts that let others through between them; behind the locks the plan is made again, from what is there then,
and just that is done. Whatever fails leaves everything as it was.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
from psycopg.rows import tuple_row

from pgflow_mp.connecting import connect, sentence_of
from pgflow_mp.core import pgmq, scripts
from pgflow_mp.core.adopt import blueprint, catalog, changes, completion, notes, obstacles
from pgflow_mp.core.adopt.known import LOCK_ORDER
from pgflow_mp.core.adopt.plan import Change, Plan, quoted
from pgflow_mp.core.adopt.situation import Situation
from pgflow_mp.core.generation import probe
from pgflow_mp.core.install import REALTIME, check_server, set_up_transaction
from pgflow_mp.core.statement import execute
from pgflow_mp.errors import DatabaseUnreachable, InstallError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

__all__ = ["PATIENCE", "adopt"]

_Connection = psycopg.Connection[Any]

PATIENCE: Final = 10.0
"""Seconds to wait for the locks, by default."""

_ATTEMPT: Final = "500ms"
"""How long one attempt waits; so long, at most, does everybody else wait behind it."""
_PAUSE: Final = 0.2
"""Seconds between two attempts, in which others go on."""

_SCHEMAS: Final = {"pgflow": "pgflow", "pgflow_mp": "pgflow_mp"}

_OWNER: Final = "select pg_get_userbyid(n.nspowner) from pg_catalog.pg_namespace as n where n.nspname = 'pgflow'"
_MAY_ACT_AS: Final = "select current_user = %s, pg_has_role(current_user, %s, 'member')"
# As JSON, because the tables of an earlier release have fewer columns.
_INSTALLED: Final = """
select i.version, coalesce(to_jsonb(i) ->> 'mode', 'own'), i.functions
from pgflow_mp.installed as i
"""


class _Installed(NamedTuple):
    """What an earlier install left: see pgflow_mp.installed."""

    version: int
    mode: str
    functions: list[str]


def adopt(
    target: str | _Connection,
    *,
    carry_out: bool = False,
    patience: float = PATIENCE,
    folder: Traversable | None = None,
) -> Plan:
    """Plan what makes a foreign schema pgflow ours, and carry it out when told to, all or nothing.

    Args:
        target: A DSN, or an open connection that is in no transaction.
        carry_out: Make the changes; otherwise nothing is changed and no table is locked.
        patience: Seconds to wait for the locks on the tables; others go on working meanwhile.
        folder: The SQL files, when not those of the package.

    Returns:
        The plan. Its changes were made when `done` is true; with obstacles in it nothing was changed.

    Raises:
        DatabaseUnreachable: No connection could be made, or it was lost; nothing was changed.
        InstallError: There is nothing to adopt, or the database refused; says why and what to do. Nothing was changed.
    """
    if isinstance(target, psycopg.Connection):
        return _adopt(target, folder or scripts.root(), carry_out=carry_out, patience=patience)
    with connect(target, purpose="adopt") as conn:
        return _adopt(conn, folder or scripts.root(), carry_out=carry_out, patience=patience)


def _adopt(conn: _Connection, folder: Traversable, *, carry_out: bool, patience: float) -> Plan:
    check_server(conn)
    with _spoken(conn):
        with conn.transaction(force_rollback=True):
            plan = _planned(conn, folder, acting=None)
        if not carry_out or plan.is_ours or plan.obstacles:
            return plan
        with conn.transaction():
            _get_locks(conn, plan, patience)
            acting = tuple(takewhile(lambda change: change.about != "locks", plan.changes))
            plan = _planned(conn, folder, acting=acting)
            for statement in plan.statements:
                conn.execute(statement.encode())
    return replace(plan, done=not plan.obstacles)


def _planned(conn: _Connection, folder: Traversable, *, acting: tuple[Change, ...] | None) -> Plan:
    """Make the plan, and do of it what comes before the first change.

    Args:
        conn: In a transaction.
        folder: The SQL files.
        acting: What makes us the owner of the schema, where that has been done.
    """
    set_up_transaction(conn)
    conn.execute("set local search_path = ''")
    database = conn.info.dbname
    owner = _value(conn, _OWNER)
    if owner is None:
        raise InstallError(
            f"there is no schema pgflow in database {database!r}, so there is nothing to adopt: "
            "make the database ready with `pgflow-mp install`."
        )
    installed = _installed(conn, newest=scripts.migrations(folder)[-1][0])
    if installed is not None and installed.mode == "own":
        return Plan(database, f"schema pgflow of database {database!r} is pgflow-mp's own already", is_ours=True)
    acting = tuple(_acting_as(conn, owner)) if acting is None else acting
    _check_pgmq(conn)
    there = catalog.read(conn, _SCHEMAS)
    realtime = bool(_value(conn, REALTIME))
    with blueprint.drawn(conn, folder, realtime=realtime) as drawn:
        made = None if installed is None else frozenset(name.replace(",", ", ") for name in installed.functions)
        now = Situation(conn, there, drawn, execute(conn, probe()), owner, pgmq.ensure(conn)[0], made)
        plan = Plan(database, now.summary(), obstacles=tuple(obstacles.of_shape(now)))
        if not plan.obstacles:  # the rows can be looked at
            now = replace(now, broken=now.count_broken())
            plan = replace(plan, obstacles=tuple(obstacles.found(now)))
        if not plan.obstacles:
            plan = replace(
                plan,
                changes=(*acting, _lock(now), *changes.planned(now), *completion.completed(now)),
                notes=tuple(notes.noted(now)),
            )
    return plan


def _installed(conn: _Connection, *, newest: int) -> _Installed | None:
    """What pgflow-mp remembers of its own install, beside or not; None where it never was here."""
    if _value(conn, "select to_regclass('pgflow_mp.installed')") is None:
        return None
    found = conn.cursor(row_factory=tuple_row).execute(_INSTALLED).fetchone()
    assert found is not None
    installed = _Installed(*found)
    if installed.version > newest:
        raise InstallError(
            f"database {conn.info.dbname!r} has version {installed.version} of pgflow-mp's tables and this package "
            f"knows version {newest}: a later pgflow-mp installed them. Update the package. Nothing was changed."
        )
    return installed


def _acting_as(conn: _Connection, owner: str) -> Iterator[Change]:
    """Become the owner of the schema, who shall own the new objects too."""
    found = conn.cursor(row_factory=tuple_row).execute(_MAY_ACT_AS, (owner, owner)).fetchone()
    assert found is not None
    is_owner, may = found
    if is_owner:
        return
    if not may:
        raise InstallError(
            f"schema pgflow is owned by {owner}, and {conn.info.user} may not act as that role: connect as {owner}, or "
            "as a superuser. Nothing was changed."
        )
    statement = f"set local role {quoted(owner)}"
    conn.execute(statement.encode())
    yield Change("rights", f"act as {owner}, who owns schema pgflow", (statement,))


def _check_pgmq(conn: _Connection) -> None:
    if _value(conn, "select to_regclass('pgmq.meta')") is None:
        raise InstallError(
            f"database {conn.info.dbname!r} has no pgmq, so its schema pgflow is not whole: it was left as it is."
        )


def _lock(now: Situation) -> Change:
    there = now.there.relations
    # Views first: whoever waits for a table through one holds it already, and would wait in a circle with its drop.
    tables = [path for path in reversed([*there]) if there[path].kind == "v"]
    tables += [f"pgflow.{name}" for name in LOCK_ORDER if f"pgflow.{name}" in there]
    # Beside a foreign core there are tables of ours already.
    tables += [path for path, relation in there.items() if (relation.schema, relation.kind) == ("pgflow_mp", "r")]
    return Change(
        "locks",
        "keep everybody else from the tables of schema pgflow until all is done",
        (
            "set local check_function_bodies = off",  # a function may call what a later statement creates
            "set local search_path = ''",
            f"lock table {', '.join(tables)} in access exclusive mode",
        ),
    )


def _get_locks(conn: _Connection, plan: Plan, patience: float) -> None:
    """Try for the locks again and again, each time so short that nobody else waits long.

    A failed attempt lets go of all of them, since it is a savepoint. Once they are ours, the plan takes them again at
    no cost.
    """
    set_up_transaction(conn)
    deadline = time.monotonic() + patience
    while True:
        try:
            with conn.transaction():
                conn.execute(f"set local lock_timeout = '{_ATTEMPT}'")
                for statement in _up_to_locks(plan):
                    conn.execute(statement.encode())
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
        else:
            return


def _up_to_locks(plan: Plan) -> Iterator[str]:
    for change in plan.changes:
        yield from change.statements
        if change.about == "locks":
            return


@contextmanager
def _spoken(conn: _Connection) -> Iterator[None]:
    """Turn what the database refuses into a sentence."""
    database = conn.info.dbname
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise InstallError(
            f"role {conn.info.user!r} may not adopt schema pgflow of database {database!r}: {sentence_of(error)}; "
            "connect as its owner, and grant that create on the database. Nothing was changed."
        ) from error
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        raise InstallError(
            f"database {database!r} is busy: a transaction that holds pgflow's tables did not end in time; see "
            "pg_stat_activity for the oldest ones, and try again. Nothing was changed."
        ) from error
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise InstallError(
            f"database {database!r} is read-only (a standby?): {sentence_of(error)}; adopt on its primary."
        ) from error
    except psycopg.OperationalError as error:
        raise DatabaseUnreachable(f"the adoption was interrupted, nothing was changed: {sentence_of(error)}") from error
    except psycopg.Error as error:
        raise InstallError(
            f"database {database!r} refused a change: {sentence_of(error)}. Nothing was changed."
        ) from error


def _value(conn: _Connection, query: str, params: tuple[str, ...] = ()) -> Any:
    found = conn.cursor(row_factory=tuple_row).execute(query.encode(), params).fetchone()
    return found[0] if found else None
