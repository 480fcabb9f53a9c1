"""``pgflow-mp enqueue``: start a run, or many, that begin at a time of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgflow_mp.cli.database import session
from pgflow_mp.cli.exits import OK
from pgflow_mp.cli.moments import read_moment, read_span
from pgflow_mp.cli.naming import flow_named
from pgflow_mp.cli.start import print_ids, wanted_inputs, wanted_once
from pgflow_mp.client import PgFlow

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Enqueue what was asked for, and print the ids."""
    inputs, how = wanted_inputs(arguments), {**_when(arguments), **wanted_once(arguments)}
    with session(arguments) as db, flow_named(db, arguments.flow):
        ids = PgFlow(db.dsn).enqueue_many(arguments.flow, inputs, conn=db.conn, **how)
    print_ids(ids, arguments)
    return OK


def _when(arguments: argparse.Namespace) -> dict[str, Any]:
    """When it shall begin, as the API takes it; a span is told to the database, whose clock counts."""
    if arguments.delay is not None:
        return {"delay_seconds": round(read_span(arguments.delay))}
    return {} if arguments.at is None else {"scheduled_at": read_moment(arguments.at)}
