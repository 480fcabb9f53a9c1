"""``pgflow-mp pause`` and ``resume``: let workers leave flows alone, and let them go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.cli.database import session
from pgflow_mp.cli.exits import OK
from pgflow_mp.cli.naming import flow_named
from pgflow_mp.cli.objects import as_json
from pgflow_mp.cli.output import print_json, print_line
from pgflow_mp.cli.words import moment
from pgflow_mp.client import PgFlow

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Pause or resume the flows, all or none, and tell how they are then."""
    with session(arguments) as db:
        app = PgFlow(db.dsn)
        change = app.pause_flow if arguments.command == "pause" else app.resume_flow
        with db.conn.transaction():
            for slug in arguments.flows:
                with flow_named(db, slug):
                    change(slug, conn=db.conn)
        paused = app.paused_flows(conn=db.conn)
    if arguments.json:
        print_json([{"slug": slug, "paused_at": as_json(paused.get(slug))} for slug in arguments.flows])
        return OK
    for slug in arguments.flows:
        since = paused.get(slug)
        print_line(f"{slug}: " + (f"paused since {moment(since)}" if since is not None else "goes on"))
    return OK
