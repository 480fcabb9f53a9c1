"""``pgflow-mp retry``: repeat runs that have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.cli import naming
from pgflow_mp.cli.database import session
from pgflow_mp.cli.exits import OK
from pgflow_mp.cli.output import print_json, print_line
from pgflow_mp.client import PgFlow

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Start a new run for each, all or none, and print their ids in the same order."""
    ids = [naming.run_id(text) for text in arguments.run_ids]
    started = []
    with session(arguments) as db, db.conn.transaction():
        for run_id in ids:
            with naming.run_named(run_id):
                started.append(PgFlow(db.dsn).retry_run(run_id, from_failed=arguments.from_failed, conn=db.conn))
    if arguments.json:
        print_json([{"run_id": str(run_id)} for run_id in started])
    else:
        for run_id in started:
            print_line(str(run_id))
    return OK
