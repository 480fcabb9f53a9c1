"""``pgflow-mp cancel``: end runs before their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.cli import naming
from pgflow_mp.cli.database import session
from pgflow_mp.cli.exits import FAILED, OK
from pgflow_mp.cli.objects import listed_run
from pgflow_mp.cli.output import print_json, print_line
from pgflow_mp.client import PgFlow

if TYPE_CHECKING:
    import argparse

    from pgflow_mp.results import Run


def run(arguments: argparse.Namespace) -> int:
    """Cancel them, all or none; exit code 1 when one of them had ended in another way."""
    ids = [naming.run_id(text) for text in arguments.run_ids]
    cancelled = []
    with session(arguments) as db, db.conn.transaction():
        for run_id in ids:
            with naming.run_named(run_id):
                cancelled.append(PgFlow(db.dsn).cancel_run(run_id, conn=db.conn))
    if arguments.json:
        print_json([listed_run(found) for found in cancelled])
    else:
        for found in cancelled:
            print_line(f"{found.run_id}: {_outcome(found)}")
    return OK if all(found.cancelled for found in cancelled) else FAILED


def _outcome(found: Run) -> str:
    return "cancelled" if found.cancelled else f"had {found.status} before, and stays as it is"
