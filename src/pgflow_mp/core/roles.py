"""Least rights: what a worker's role and a client's role are granted, and what nobody else keeps.

- The *installer* owns the schemas: it installs, compiles, deletes, repairs.
- A *worker* claims, settles, recovers and beats: rows of runs, steps, tasks, workers and queues, also of queues that
  the installer makes later. It cannot define, change or delete a flow.
- A *client* starts runs and reads them, through functions that run with their owner's rights. It has no right on any
  table.

Functions are executable by PUBLIC unless somebody says otherwise, and some of ours run with their owner's rights. So as
soon as a role is set up here, PUBLIC loses our own functions and all that run with their owner's rights. Grants live in
the database and nowhere else: a later install sees who has them and gives the same roles what an update has added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from pgflow_mp.errors import InstallError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["grant"]

_Connection = psycopg.Connection[Any]

# What starts and reads runs, and finds flows; each runs with its owner's rights (D-11).
_CLIENT_FUNCTIONS = (
    "pgflow.start_flow_with_states",
    "pgflow.get_run_with_states",
    "pgflow.flow_exists",
    "pgflow_mp.has_flow",
    "pgflow_mp.start_flows",
    "pgflow_mp.start_once",
    "pgflow_mp.retry_run",
    "pgflow_mp.cancel_runs",
    "pgflow_mp.carry",
    "pgflow_mp.enqueue",
    "pgflow_mp.get_retention",
    "pgflow_mp.get_run",
    "pgflow_mp.run_details",
    "pgflow_mp.flow_details",
    "pgflow_mp.installation",
    "pgflow_mp.list_runs",
    "pgflow_mp.list_workers",
    "pgflow_mp.queue_depths",
    "pgflow_mp.run_progress",
    "pgflow_mp.active_runs",
    "pgflow_mp.worker_details",
    "pgflow_mp.flow_activity",
    "pgflow_mp.paused_flows",
    "pgflow_mp.set_schedule",
    "pgflow_mp.list_schedules",
    "pgflow_mp.pause_schedule",
    "pgflow_mp.run_schedule",
    "pgflow_mp.delete_schedule",
)
# Who may execute this one is a worker; nobody else needs it.
_WORKER_MARK = "pgflow_mp.held_tasks"
_CLIENT_MARK = "pgflow_mp.start_flows"

_WORKER_GRANTS = """
grant usage on schema pgflow, pgflow_mp, pgmq to {role};
grant select on all tables in schema pgflow, pgflow_mp, pgmq to {role};
grant insert, update on pgflow.runs, pgflow.step_states, pgflow.step_tasks, pgflow.workers, pgflow.worker_functions,
  pgflow_mp.workers, pgflow_mp.carriers to {role};
grant execute on all functions in schema pgflow_mp to {role};
alter default privileges in schema pgmq grant select, insert, update, delete on tables to {role}
"""
_WORKER_FUNCTIONS = (
    *_CLIENT_FUNCTIONS[:3],
    "pgflow.requeue_stalled_tasks",
    "pgflow.recover_stalled_tasks",
)
_CLIENT_GRANTS = "grant usage on schema pgflow, pgflow_mp to {role}"

_ALL_FUNCTIONS = """
select format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
       n.nspname || '.' || p.proname, n.nspname = 'pgflow_mp' or p.prosecdef
from pg_catalog.pg_proc as p
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
where n.nspname in ('pgflow', 'pgflow_mp')
"""
_QUEUE_TABLES = """
select format('%I.%I', n.nspname, c.relname)
from pg_catalog.pg_class as c
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where n.nspname = 'pgmq' and c.relkind in ('r', 'p') and c.relname ~ '^[qa]_'
"""
_GRANTEES = """
select distinct r.rolname
from pg_catalog.pg_proc as p
cross join lateral pg_catalog.aclexplode(p.proacl) as a
join pg_catalog.pg_roles as r on r.oid = a.grantee
where p.oid = any (array(
        select f.oid from pg_catalog.pg_proc as f
        join pg_catalog.pg_namespace as n on n.oid = f.pronamespace
        where n.nspname || '.' || f.proname = %s))
  and a.privilege_type = 'EXECUTE'
  and a.grantee <> p.proowner
"""


def grant(conn: _Connection, workers: Iterable[str] = (), clients: Iterable[str] = ()) -> list[str]:
    """Give roles what a worker or a client needs, also those that got it from an earlier call.

    Args:
        conn: A connection of the installer, inside its transaction, after the functions were made.
        workers: Roles that workers connect as.
        clients: Roles that applications connect as; a role can be both.

    Returns:
        A line for each role; none when no role was ever named.

    Raises:
        InstallError: A role does not exist.
    """
    earlier = set(_column(conn, _GRANTEES, _WORKER_MARK))
    # A worker may start flows too, so it does not count as a client because of that.
    earlier_clients = set(_column(conn, _GRANTEES, _CLIENT_MARK)) - earlier
    all_workers = sorted(earlier | set(workers))
    all_clients = sorted(earlier_clients | set(clients))
    for role in (*all_workers, *all_clients):
        if not _column(conn, "select 1 from pg_catalog.pg_roles where rolname = %s", role):
            raise InstallError(f"there is no role {role!r}; make it first: create role ... login. Nothing was changed.")
    if all_workers or all_clients:
        _close_to_public(conn)
    for role in all_workers:
        _run(conn, _WORKER_GRANTS, role)
        _grant_queues(conn, role)
        _grant_functions(conn, _WORKER_FUNCTIONS, role)
    for role in all_clients:
        _run(conn, _CLIENT_GRANTS, role)
        _grant_functions(conn, _CLIENT_FUNCTIONS, role)
    return [f"roles: {role} may work" for role in all_workers] + [
        f"roles: {role} may start and read" for role in all_clients
    ]


def _close_to_public(conn: _Connection) -> None:
    for signature, _, closed in _functions(conn):
        if closed:
            conn.execute(f"revoke execute on function {signature} from public".encode())


def _grant_functions(conn: _Connection, names: Iterable[str], role: str) -> None:
    wanted = set(names)
    for signature, name, _ in _functions(conn):
        if name in wanted:
            _run(conn, f"grant execute on function {signature} to {{role}}", role)


def _grant_queues(conn: _Connection, role: str) -> None:
    for table in _column(conn, _QUEUE_TABLES):
        _run(conn, f"grant select, insert, update, delete on table {table} to {{role}}", role)


def _functions(conn: _Connection) -> list[tuple[str, str, bool]]:
    return conn.cursor(row_factory=tuple_row).execute(_ALL_FUNCTIONS).fetchall()


def _column(conn: _Connection, query: str, *params: str) -> list[Any]:
    return [row[0] for row in conn.cursor(row_factory=tuple_row).execute(query.encode(), params or None).fetchall()]


def _run(conn: _Connection, statements: str, role: str) -> None:
    for statement in statements.split(";"):
        conn.execute(sql.SQL(statement).format(role=sql.Identifier(role)))
