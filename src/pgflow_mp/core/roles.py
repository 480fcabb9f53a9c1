"""Least rights: what a worker's role and a client's role are granted, and what nobody else keeps.

- The *installer* owns the schemas: it installs, compiles, deletes, repairs.
- A *worker* claims, settles, recovers and beats: rows of runs, steps, tasks, workers and queues, also of queues that
  the installer makes later. It cannot define, change or delete a flow.
- A *client* starts runs and reads them, through functions that run with their owner's rights. It has no right on any
  table.

Functions are executable by PUBLIC unless somebody says otherwise, and some of ours run with their owner's rights. So as
soon as a role is set up here, PUBLIC loses our own functions and all that run with their owner's rights. Grants live in
the database and nowhere else: a later install sees who has them and gives the same roles what an update has added.

Beside a schema pgflow of somebody else nothing is taken from anybody there, and a worker is granted what it lacks on
its tables. Whoever installs may not be the one who may grant that: then the statements are said, for the owner to run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from pgflow_mp.errors import InstallError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["grant", "lacking"]

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
grant usage on schema pgflow_mp to {role};
grant select on all tables in schema pgflow_mp to {role};
grant insert, update on pgflow_mp.workers, pgflow_mp.carriers to {role};
grant execute on all functions in schema pgflow_mp to {role};
alter default privileges in schema pgmq grant select, insert, update, delete on tables to {role}
"""
_WORKER_GRANTS_ON_OURS = """
grant usage on schema pgflow, pgmq to {role};
grant select on all tables in schema pgflow, pgmq to {role};
grant insert, update on pgflow.runs, pgflow.step_states, pgflow.step_tasks, pgflow.workers, pgflow.worker_functions
  to {role}
"""
_READ = ("flows", "steps", "deps", "runs", "step_states", "step_tasks", "workers", "worker_functions")
_WRITTEN = ("runs", "step_states", "step_tasks", "workers", "worker_functions")
_WORKER_FUNCTIONS = (
    *_CLIENT_FUNCTIONS[:3],
    "pgflow.requeue_stalled_tasks",
    "pgflow.recover_stalled_tasks",
)
_CLIENT_GRANTS = "grant usage on schema pgflow_mp to {role}"
_CLIENT_GRANTS_ON_OURS = "grant usage on schema pgflow to {role}"

_ALL_FUNCTIONS = """
select format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
       n.nspname || '.' || p.proname, n.nspname = 'pgflow_mp' or p.prosecdef
from pg_catalog.pg_proc as p
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
where n.nspname = 'pgflow_mp'
  or (
    n.nspname = 'pgflow'
    and not exists (select from pgflow_mp.installed as i where to_jsonb(i) ->> 'mode' = 'beside')
  )
"""
# As JSON, because tables of an earlier version have no such column.
_BESIDE = "select 1 from pgflow_mp.installed as i where to_jsonb(i) ->> 'mode' = 'beside'"
# By ids: a name cannot be looked up in a schema that one may not use.
_LACKING = """
select kind, privileges, string_agg(name, ', ' order by name)
from (
  select kind, place, name, string_agg(privilege, ', ' order by privilege desc) as privileges
  from (
    select 'schema' as kind, given.privilege, quote_ident(n.nspname) as name, 1 as place
    from pg_catalog.pg_namespace as n
    cross join lateral (
      select 'usage' as privilege where not has_schema_privilege(%s, n.oid, 'usage')
      union all
      select u from unnest(%s::text[]) as u where n.nspname = 'pgmq' and not has_schema_privilege(%s, n.oid, u)
    ) as given
    where n.nspname in ('pgflow', 'pgmq', 'realtime')
    union all
    select 'table', given.privilege, format('%%I.%%I', n.nspname, c.relname), 2
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    join (
      select * from unnest(%s::text[], %s::text[], %s::text[]) as named (schema_name, table_name, privilege)
      union all
      select 'pgmq', queue.relname, u
      from pg_catalog.pg_class as queue
      cross join unnest(array['select', 'insert', 'update', 'delete']) as u
      where queue.relnamespace = 'pgmq'::regnamespace and queue.relkind in ('r', 'p') and queue.relname ~ '^[qa]_'
    ) as given on given.schema_name = n.nspname and given.table_name = c.relname
    where not has_table_privilege(%s, c.oid, given.privilege)
    union all
    select
      'function', 'execute', format('%%I.%%I(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), 3
    from pg_catalog.pg_proc as p
    join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
    where (n.nspname = 'pgflow' or (n.nspname, p.proname) = ('realtime', 'send'))
      and not has_function_privilege(%s, p.oid, 'execute')
  ) as missing
  group by kind, place, name
) as lacking
group by place, kind, privileges
order by place, kind, privileges
"""
_OUR_VIEWS = """
select c.oid::regclass::text
from pg_catalog.pg_class as c
where c.relnamespace = 'pgflow_mp'::regnamespace and c.relkind = 'v'
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
    beside = bool(_column(conn, _BESIDE))
    lines = []
    for role in all_workers:
        _run(conn, _WORKER_GRANTS, role)
        _grant_functions(conn, _WORKER_FUNCTIONS, role)
        if beside:
            lines += _grant_on_theirs(conn, role)
        else:
            _run(conn, _WORKER_GRANTS_ON_OURS, role)
            _grant_queues(conn, role)
            lines.append(f"roles: {role} may work")
    for role in all_clients:
        _run(conn, _CLIENT_GRANTS if beside else f"{_CLIENT_GRANTS};{_CLIENT_GRANTS_ON_OURS}", role)
        _grant_functions(conn, _CLIENT_FUNCTIONS, role)
        lines.append(f"roles: {role} may start and read")
    return lines


def lacking(conn: _Connection, role: str, *, installer: bool = False) -> list[str]:
    """Return the grants that a role lacks to work on schemas pgflow and pgmq of somebody else, as statements.

    Args:
        conn: Any connection; only the catalog is read.
        role: The role.
        installer: Whether it shall also define and delete flows and prune runs.
    """
    written = _READ if installer else _WRITTEN
    wanted = [("pgflow", table, "select") for table in _READ]
    wanted += [("pgflow", table, right) for right in ("insert", "update") for table in written]
    wanted += [("pgmq", "meta", "select")]
    if installer:
        wanted += [("pgflow", table, "delete") for table in _READ]
        wanted += [("pgmq", "meta", "insert"), ("pgmq", "meta", "delete")]
    cursor = conn.cursor(row_factory=tuple_row)
    schemas, tables, rights = (list(column) for column in zip(*wanted, strict=True))
    asked = (role, ["create"] if installer else [], role, schemas, tables, rights, role, role)
    named = sql.Identifier(role).as_string(conn)
    found = cursor.execute(_LACKING.encode(), asked).fetchall()
    return [f"grant {privileges} on {kind} {names} to {named}" for kind, privileges, names in found]


def _grant_on_theirs(conn: _Connection, role: str) -> list[str]:
    """Grant what a worker lacks on tables of somebody else, and say what is left for their owner to grant."""
    for written in (*_column(conn, _OUR_VIEWS), "pgflow_mp.task_requeues"):
        _run(conn, f"grant select, insert, update on {written} to {{role}}", role)
    for statement in lacking(conn, role):
        try:
            with conn.transaction():
                conn.execute(statement.encode())
        except psycopg.errors.InsufficientPrivilege:
            break
    left = lacking(conn, role)
    if not left:
        return [f"roles: {role} may work"]
    owner = f"the owner of schema pgflow, who is not {conn.info.user}"
    return [f"roles: {role} may work once {owner}, has run: {'; '.join(left)}"]


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
