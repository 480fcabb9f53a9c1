"""``pgflow-mp prune``: delete runs that ended long ago."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pgflow_mp.cli.database import session
from pgflow_mp.cli.exits import OK
from pgflow_mp.cli.moments import read_span
from pgflow_mp.cli.naming import known_flow
from pgflow_mp.cli.objects import as_json
from pgflow_mp.cli.output import print_json, print_line
from pgflow_mp.client import PgFlow
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Prune, and tell how much was deleted; the connection commits each batch."""
    age = timedelta(seconds=read_span(arguments.older_than))
    with session(arguments) as db:
        flows = [known_flow(db, slug) for slug in arguments.flows] or None
        pruned = PgFlow(db.dsn).prune(age, flow=flows, conn=db.conn)
    if arguments.json:
        print_json(as_json(pruned))
    else:
        deleted = (counted(pruned.runs, "run"), counted(pruned.tasks, "task"))
        print_line(f"deleted: {', '.join(deleted)}, {counted(pruned.archived, 'archived message')}")
    return OK
