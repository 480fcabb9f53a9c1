"""``pgflow-mp start``: start a run, or many, for the workers that serve the flow.

stdout carries what a script wants: the id, an id a line, or with ``--wait`` the output. While it waits, progress is on
stderr, as with `run`; leaving earlier leaves the run as it is.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pgflow_mp.cli.database import session
from pgflow_mp.cli.exits import FAILED, OK, UsageError
from pgflow_mp.cli.failure import explain
from pgflow_mp.cli.given import read_input, read_inputs
from pgflow_mp.cli.naming import flow_named
from pgflow_mp.cli.objects import as_json
from pgflow_mp.cli.output import print_json, print_line
from pgflow_mp.cli.screen import display
from pgflow_mp.cli.waiting import wait_for
from pgflow_mp.client import PgFlow
from pgflow_mp.core.queries.runs import get_run_with_states

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from uuid import UUID

    from pgflow_mp.cli.database import Session


def run(arguments: argparse.Namespace) -> int:
    """Start what was asked for, and print what there is to know."""
    if arguments.timeout is not None and not arguments.wait:
        raise UsageError("--timeout is how long to wait: it needs --wait")
    inputs, once = wanted_inputs(arguments), wanted_once(arguments)
    with session(arguments) as db:
        with flow_named(db, arguments.flow):
            ids = _start(db, arguments.flow, inputs, once)
        if arguments.wait:
            return _wait(db, arguments, ids[0])
    print_ids(ids, arguments)
    return OK


def wanted_inputs(arguments: argparse.Namespace) -> list[object]:
    """The input of each run."""
    return read_inputs(arguments.input) if arguments.lines else [read_input(arguments.input)]


def wanted_once(arguments: argparse.Namespace) -> dict[str, Any]:
    """When not to start another run, as the API takes it."""
    if arguments.key is not None and arguments.lines:
        raise UsageError("--key names one run: it cannot be told for all --lines at once")
    keys = {} if arguments.key is None else {"idempotency_keys": [arguments.key]}
    return {**keys, "unique_while_running": arguments.unique}


def print_ids(ids: Sequence[UUID], arguments: argparse.Namespace) -> None:
    """Print what was started: an id a line, or JSON; a list where many were asked for."""
    if arguments.json:
        print_json([{"run_id": str(run_id)} for run_id in ids] if arguments.lines else {"run_id": str(ids[0])})
    else:
        for run_id in ids:
            print_line(str(run_id))


def _start(db: Session, slug: str, inputs: list[object], once: dict[str, Any]) -> list[UUID]:
    return PgFlow(db.dsn).start_flows(slug, inputs, conn=db.conn, **once)


def _wait(db: Session, arguments: argparse.Namespace, run_id: UUID) -> int:
    screen = display()
    screen.say(f"{arguments.flow}, run {run_id}")
    wait_for(db, run_id, screen.show, close=screen.close, seconds=arguments.timeout)
    result = db.ask(get_run_with_states(run_id))
    assert result is not None, "it has just been seen ended"
    if arguments.json:
        print_json(as_json(result))
    elif result.completed:
        print_json(result.output)
    if result.failed:
        print(f"pgflow-mp: {explain(result)}", file=sys.stderr)
        return FAILED
    return OK
