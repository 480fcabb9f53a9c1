"""Statements by which an engine tells the database that its workers are here, alive, and gone.

A process has one *worker* (a row of ``pgflow.workers``) for each flow that it serves; all statements take the workers
of a process together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgflow_mp.core.statement import Row, Statement, nothing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

__all__ = [
    "Process",
    "WorkerDetails",
    "flows_of_other_workers",
    "heartbeat",
    "list_processes",
    "list_workers",
    "mark_workers_stopped",
    "register_workers",
]


@dataclass(frozen=True, slots=True)
class Process:
    """The operating system's process that a worker runs in; tells whether a silent worker still exists.

    Attributes:
        host: Name of the machine.
        boot_id: Of the machine since its last start: a pid means nothing after a restart. None when not known.
        pid: Process id of the parent, which beats.
        pid_namespace: Of the container, which counts its own pids. None when not known.
        started: When the process started, in whatever form the system tells it; tells it from a later one with the
            same pid. None when not known.
    """

    host: str
    pid: int
    boot_id: str | None = None
    pid_namespace: str | None = None
    started: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerDetails:
    """A worker as the database knows it.

    Attributes:
        worker_id: Its row in ``pgflow.workers``.
        flow_slug: The flow that it serves; None where no flow has its queue any more.
        queue_name: The queue as it wrote it.
        function_name: The deployment unit.
        state: ``live`` (heard of within 30 s), ``stale`` (60 s), ``dead``, ``finishing`` (asked to, and not dead) or
            ``stopped``.
        tasks: How many tasks it has in hand.
        host: Where it runs; None for those of other languages, like `pid`.
        pid: The parent's process id.
        version: Of its software, as far as it is known.
        started_at: When it registered.
        last_heartbeat_at: When it was last heard of.
        stopped_at: When it said that it has stopped.
        silent_seconds: Since it was last heard of.
    """

    worker_id: UUID
    flow_slug: str | None
    queue_name: str
    function_name: str
    state: str
    tasks: int
    host: str | None
    pid: int | None
    version: str | None
    started_at: datetime
    last_heartbeat_at: datetime
    stopped_at: datetime | None
    silent_seconds: float


def list_workers(
    flow_slugs: Sequence[str] | None = None, *, include_stopped: bool = False
) -> Statement[list[WorkerDetails]]:
    """List the workers of all languages, by flow and start.

    Args:
        flow_slugs: Of these flows; None for all.
        include_stopped: Those too that said that they have stopped.
    """
    wanted = None if flow_slugs is None else list(flow_slugs)
    sql = "select * from pgflow_mp.worker_details(%s::text[], %s::boolean)"
    return Statement(sql, (wanted, include_stopped), lambda found: [WorkerDetails(*row) for row in found])


_REGISTER = """
select pgflow_mp.register_workers(
  worker_ids => %s::uuid[], flow_slugs => %s::text[], function_name => %s::text,
  host => %s::text, boot_id => %s::text, pid => %s::int, pid_namespace => %s::text, process_started => %s::text,
  version => %s::text
)
"""


def register_workers(
    workers: Mapping[str, UUID], *, function_name: str, process: Process, version: str
) -> Statement[None]:
    """Make or renew the rows of the workers of one process, before the first claim (core 4.7.1).

    Args:
        workers: The worker of each flow, by flow slug.
        function_name: The deployment unit, for people: all its workers can be deprecated together (core WK-4).
        process: Where they run.
        version: Of pgflow-mp.

    Raises:
        psycopg.errors.ForeignKeyViolation: (when executed) A flow is not in the database.
    """
    params = (
        list(workers.values()),
        list(workers),
        function_name,
        process.host,
        process.boot_id,
        process.pid,
        process.pid_namespace,
        process.started,
        version,
    )
    return Statement(_REGISTER, params, nothing)


_HEARTBEAT = "select worker_id, deprecated from pgflow_mp.heartbeat(%s::uuid[])"


def heartbeat(worker_ids: Sequence[UUID]) -> Statement[dict[UUID, bool | None]]:
    """Beat for workers; tell of each whether it shall finish its tasks and exit.

    A missing row means yes (SU-7), but on cores from before that rule: there it is None, and says nothing.
    """
    return Statement(_HEARTBEAT, (list(worker_ids),), _deprecated_by_worker)


def mark_workers_stopped(worker_ids: Sequence[UUID]) -> Statement[None]:
    """Note that workers have stopped, as the last thing that they do (core WK-2)."""
    return Statement("select pgflow_mp.mark_workers_stopped(%s::uuid[])", (list(worker_ids),), nothing)


_PROCESSES = """
select worker_id, host, pid, boot_id, pid_namespace, process_started
from pgflow_mp.neighbours(%s::text, %s::text)
"""


def list_processes(boot_id: str, pid_namespace: str) -> Statement[dict[UUID, Process]]:
    """Tell the processes of the workers that never said that they stopped, on one machine and in one container."""
    return Statement(_PROCESSES, (boot_id, pid_namespace), _processes_by_worker)


def flows_of_other_workers(
    flow_slugs: Sequence[str], worker_ids: Sequence[UUID], silent: float = 15.0
) -> Statement[set[str]]:
    """Tell on which of these flows somebody else works at the moment, of whatever language.

    Args:
        flow_slugs: The flows.
        worker_ids: Those who do not count: the caller's own.
        silent: Seconds without a heartbeat after which a worker does not count either.
    """
    sql = "select * from pgflow_mp.flows_of_other_workers(%s::text[], %s::uuid[], %s::float8)"
    return Statement(sql, (list(flow_slugs), list(worker_ids), silent), lambda found: {slug for (slug,) in found})


def _processes_by_worker(found: list[Row]) -> dict[UUID, Process]:
    return {worker_id: Process(*process) for worker_id, *process in found}


def _deprecated_by_worker(found: list[Row]) -> dict[UUID, bool | None]:
    return dict(found)
