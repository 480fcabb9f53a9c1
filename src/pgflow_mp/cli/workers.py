"""``pgflow-mp workers``: who works, where, on what, and since when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.cli.database import session
from pgflow_mp.cli.exits import OK
from pgflow_mp.cli.naming import known_flow
from pgflow_mp.cli.objects import as_json
from pgflow_mp.cli.output import Column, print_json, print_line, print_table
from pgflow_mp.cli.progress import duration
from pgflow_mp.cli.words import moment, status_text
from pgflow_mp.core.queries.workers import list_workers

if TYPE_CHECKING:
    import argparse

    from pgflow_mp.cli.output import Cell
    from pgflow_mp.core.queries.workers import WorkerDetails

_COLUMNS = (
    Column("FLOW", style="bold"),
    Column("STATE"),
    Column("TASKS", justify="right"),
    Column("SILENT", justify="right"),
    Column("STARTED", spare=3),
    Column("PROCESS", least=8, spare=1),
    Column("SOFTWARE", spare=2),
    Column("WORKER"),
)


def run(arguments: argparse.Namespace) -> int:
    """List the workers."""
    with session(arguments) as db:
        flows = None if arguments.flow is None else [known_flow(db, arguments.flow)]
        workers = db.ask(list_workers(flows, include_stopped=arguments.all))
    if arguments.json:
        print_json(as_json(workers))
    elif workers:
        print_table(_COLUMNS, [_row(worker) for worker in workers])
    else:
        print_line("no workers: `pgflow-mp serve MODULE` starts one")
    return OK


def _row(worker: WorkerDetails) -> tuple[Cell, ...]:
    return (
        worker.flow_slug or f"(queue {worker.queue_name})",
        status_text(worker.state),
        str(worker.tasks),
        duration(max(0.0, worker.silent_seconds)),
        moment(worker.started_at),
        f"{worker.host}:{worker.pid}" if worker.host else worker.function_name,
        worker.version or "",
        str(worker.worker_id),
    )
