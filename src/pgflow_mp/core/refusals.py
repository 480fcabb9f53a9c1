"""What the database refuses, said in the words of the API.

The functions answer with SQLSTATEs and constraint names (core 3.4 to 3.6); a person wants to know which flow is
unknown and which command mends it. Where the answer alone does not tell (`not_installed`), it is said what else is
there.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as postgres
from psycopg_pool import PoolTimeout

from pgflow_mp.connecting import sentence_of
from pgflow_mp.core.drift import made, may_have_drifted, reason
from pgflow_mp.core.generation import probe
from pgflow_mp.core.statement import execute
from pgflow_mp.errors import (
    DatabaseUnreachable,
    FlowNotFound,
    InvalidInput,
    NotInstalled,
    NotPermitted,
    PgflowError,
    RunExists,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.core.drift import Made
    from pgflow_mp.core.generation import Core

_FLOW_IS_MISSING = ("runs_flow_slug_fkey", "schedules_flow_slug_fkey")
_KEY_IN_DETAIL = "(flow_slug)=("

# A queue is two tables (pgmq): its messages and its archive.
_QUEUE_TABLE = re.compile(r"\bpgmq\.[qa]_(\w+)")


@contextmanager
def spoken(doing: str = "this call") -> Iterator[None]:
    """Turn the refusals that have a meaning in the API into its errors; let all others pass.

    Args:
        doing: What is attempted, for a person who may not do it: the subject of the sentence.
    """
    try:
        yield
    except psycopg.Error as error:
        said = _in_our_words(error, doing)
        if said is None:
            raise
        raise said from error


def _in_our_words(error: psycopg.Error, doing: str) -> PgflowError | None:
    """Return what a refusal means; None where it means nothing in particular."""
    match error:
        case postgres.InsufficientPrivilege():
            return NotPermitted(
                f"{doing} is not permitted to this role: {sentence_of(error)}. "
                "Flows are created, changed and deleted by the role that installed pgflow "
                "(`pgflow-mp compile MODULE`); docs/operating.md says what the others need"
            )
        case _ if may_have_drifted(error):
            return NotInstalled()
        case postgres.UndefinedTable():
            return _lost_queue(error, doing)
        case postgres.ForeignKeyViolation() if error.diag.constraint_name in _FLOW_IS_MISSING:
            slug = (error.diag.message_detail or "").partition(_KEY_IN_DETAIL)[2].partition(")")[0]
            return FlowNotFound(
                f"flow `{slug}` is not in this database; make it with `pgflow-mp compile MODULE` or `app.compile(flow)`"
            )
        case postgres.UniqueViolation():
            return _taken(error, doing)
        case postgres.RaiseException():
            message = error.diag.message_primary or ""
            if "root map steps but input" in message:
                return InvalidInput(f"{message}; its input must be a JSON array, one element for each task")
            return PgflowError(message)
        case PoolTimeout():
            return DatabaseUnreachable(
                f"{doing} did not get a connection: {sentence_of(error)}; all connections of this object are in use, "
                "or the database lets no more in"
            )
        case psycopg.OperationalError() if _is_lost(error):
            return DatabaseUnreachable(
                f"the connection was lost while {doing} was under way, and whether it was carried out is not known "
                f"(an idempotency key makes a start safe to repeat): {sentence_of(error)}"
            )
    return None


def _is_lost(error: psycopg.Error) -> bool:
    """Whether it is the connection that failed: libpq says so (no SQLSTATE), or the server, which is shutting down."""
    state = error.sqlstate
    return state is None or state.startswith("08") or state in ("57P01", "57P02", "57P03")


def _lost_queue(error: psycopg.Error, doing: str) -> PgflowError | None:
    lost = _QUEUE_TABLE.search(sentence_of(error))
    if lost is None:
        return None
    return PgflowError(
        f"{doing} is not possible: the table {lost[0]} of queue `{lost[1]}` was dropped; "
        "`pgflow-mp compile MODULE` makes the queue again"
    )


def _taken(error: psycopg.Error, doing: str) -> PgflowError | None:
    if error.diag.constraint_name == "runs_pkey":
        run_id = (error.diag.message_detail or "").partition("(run_id)=(")[2].partition(")")[0]
        return RunExists(f"{doing} is not possible: there is a run {run_id} already; nothing was started")
    if error.diag.constraint_name == "idx_flows_normalized_slug":
        return PgflowError(
            f"{doing} is not possible: this database has a flow whose slug differs by case only, and both would use "
            "the same queue; give one of them another slug (`slug=`)"
        )
    # Not of a table: a function of ours says which queue is taken (generations QI-3).
    return None if error.diag.constraint_name else PgflowError(sentence_of(error))


def why_not_installed(conn: psycopg.Connection[Any]) -> NotInstalled:
    """Look at what is there, and return the error for a database in which our functions were not found.

    Args:
        conn: A connection whose transaction, if it has one, has not failed.
    """
    core = execute(conn, probe())
    try:
        return not_installed(core, execute(conn, made()) if core.installed else None)
    except psycopg.Error:  # functions of another version do not tell
        return not_installed(core)


def not_installed(core: Core, functions: Made | None = None) -> NotInstalled:
    """Return the error for a database in which our functions were not found, after a look at what is there.

    Args:
        core: What is there.
        functions: What ours were made for, where they are there and could be asked.
    """
    database = core.database
    if changed := reason(core, functions):
        return NotInstalled(changed)
    if core.installed:
        return NotInstalled(
            f"database {database!r} has the functions of another version of pgflow-mp; "
            "bring it up to date with `pgflow-mp install --dsn DSN`"
        )
    if core.made_by == "nobody":
        return NotInstalled()
    if core.made_by == "pgflow-mp":
        return NotInstalled(f"schema pgflow_mp of database {database!r} is gone; restore it from a backup")
    if core.tier is None:
        return NotInstalled(
            f"database {database!r} has a schema pgflow that pgflow-mp did not make and cannot work with, because "
            f"{core.reason}. "
            "Name another database, made ready with `pgflow-mp install --dsn DSN`"
        )
    return NotInstalled(
        f"database {database!r} has {core.name}, and pgflow-mp is not beside it yet: `pgflow-mp install --dsn DSN` "
        "adds schema pgflow_mp and changes nothing of what is there"
    )
