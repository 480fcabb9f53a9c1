"""Trouble between a step and the database: its result is there, and what becomes of it goes wrong.

The handler knows nothing of it, so this happens in the test's process, with either executor, after the outcome of an
attempt is known and before the engine settles it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.core.queries.tasks import requeue_tasks, settle_tasks
from pgflow_mp.core.statement import Statement, execute, nothing
from pgflow_mp.engine.returning import key_of_call
from pgflow_mp.engine.settle import settlement_of
from pytest_pgflow._trouble import Disconnect, Lag, TroubleFirst

if TYPE_CHECKING:
    from typing import Any

    import psycopg

    from pgflow_mp.executors.base import Outcome, TaskCall

# A worker's own; a run inline has no connection that nothing but settling uses.
_CUT = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name = 'pgflow-mp settle'
"""


def is_troubled(call: TaskCall) -> bool:
    """Whether the result of this attempt is to meet with trouble."""
    handler = call.step.handler
    return (
        isinstance(handler, TroubleFirst)
        and isinstance(handler.act, Lag | Disconnect)
        and handler.befalls(call.task_index, call.attempt)
    )


def make_trouble(conn: psycopg.Connection[Any], outcome: Outcome) -> None:
    """Do to a result what its double asks for, if it does.

    Args:
        conn: In autocommit mode, and not the one that will settle.
        outcome: What will be settled next; it is not changed.
    """
    if not is_troubled(outcome.call):
        return
    if isinstance(outcome.call.step.handler.act, Lag):  # type: ignore[union-attr]
        # Someone else gets the task: what is settled next comes too late.
        execute(conn, requeue_tasks([key_of_call(outcome.call)]))
    else:
        # The database has it, and the connection is lost before it could say so: it will be told again.
        execute(conn, settle_tasks([settlement_of(outcome)]))
        execute(conn, Statement(_CUT, (), nothing))
