"""``pgflow-mp runs``: a page of runs that meet some conditions, the latest first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pgflow_mp.cli.database import session
from pgflow_mp.cli.exits import OK
from pgflow_mp.cli.given import read_input
from pgflow_mp.cli.moments import read_moment
from pgflow_mp.cli.naming import known_flow
from pgflow_mp.cli.objects import listed_run
from pgflow_mp.cli.output import Column, print_json, print_line, print_table
from pgflow_mp.cli.progress import duration
from pgflow_mp.cli.words import moment, run_status
from pgflow_mp.client import PgFlow

if TYPE_CHECKING:
    import argparse

    from pgflow_mp.cli.database import Session
    from pgflow_mp.cli.output import Cell
    from pgflow_mp.client.pages import RunPage
    from pgflow_mp.results import Run

_COLUMNS = (
    Column("RUN"),
    Column("FLOW", style="bold"),
    Column("STATUS"),
    Column("STARTED", spare=2),
    Column("TIME", justify="right", spare=1),
    Column("INPUT", least=10, spare=3),
)


def run(arguments: argparse.Namespace) -> int:
    """List the page."""
    conditions = _conditions(arguments)
    with session(arguments) as db:
        page = _page(db, arguments, conditions)
    if arguments.json:
        print_json({"runs": [listed_run(found) for found in page], "next": page.next})
        return OK
    if page:
        print_table(_COLUMNS, [_row(found) for found in page])
    else:
        print_line("no runs")
    if page.next is not None:
        print_line()
        print_line(f"there are more: --after {page.next}")
    return OK


def _conditions(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was typed, read before anything is asked."""
    conditions: dict[str, Any] = {
        "cancelled": arguments.cancelled,
        "started_after": None if arguments.since is None else read_moment(arguments.since, past=True),
        "started_before": None if arguments.until is None else read_moment(arguments.until, past=True),
    }
    if arguments.contains is not None:
        conditions["input_contains"] = read_input(arguments.contains)
    return conditions


def _page(db: Session, arguments: argparse.Namespace, conditions: dict[str, Any]) -> RunPage:
    flows = None if arguments.flow is None else [known_flow(db, slug) for slug in arguments.flow]
    return PgFlow(db.dsn).list_runs(
        flow=flows, status=arguments.status, after=arguments.after, limit=arguments.limit, conn=db.conn, **conditions
    )


def _row(found: Run) -> tuple[Cell, ...]:
    return (
        str(found.run_id),
        found.flow_slug,
        run_status(found),
        moment(found.started_at) if found.started_at is not None else "",
        duration(found.seconds) if found.seconds is not None else "",
        json.dumps(found.input, ensure_ascii=False),
    )
