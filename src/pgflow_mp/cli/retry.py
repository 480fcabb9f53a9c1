"""``pgflow-mp retry``: repeat runs that have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.cli import naming
from pgflow_mp.cli.database import session
from pgflow_mp.cli.exits import OK
from pgflow_mp.cli.output import print_json, print_line
from pgflow_mp.client import PgFlow
from pgflow_mp.errors import RunNotFound

if TYPE_CHECKING:
    import argparse
    from uuid import UUID

    from pgflow_mp.cli.database import Session


def run(arguments: argparse.Namespace) -> int:
    """Start a new run for each, all or none, and print their ids in the same order."""
    ids = [naming.run_id(text) for text in arguments.run_ids]
    with session(arguments) as db, db.conn.transaction():
        started = [_retry(db, run_id, from_failed=arguments.from_failed) for run_id in ids]
    if arguments.json:
        print_json([{"run_id": str(run_id)} for run_id in started])
    else:
        for run_id in started:
            print_line(str(run_id))
    return OK


def _retry(db: Session, run_id: UUID, *, from_failed: bool) -> UUID:
    try:
        return PgFlow(db.dsn).retry_run(run_id, from_failed=from_failed, conn=db.conn)
    except RunNotFound as error:
        raise naming.unknown_run(str(run_id)) from error
