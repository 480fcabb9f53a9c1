"""``pgflow-mp pause`` and ``resume``: let workers leave flows alone, and let them go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.cli.database import session
from pgflow_mp.cli.exits import OK
from pgflow_mp.cli.naming import unknown_flow
from pgflow_mp.cli.objects import as_json
from pgflow_mp.cli.output import print_json, print_line
from pgflow_mp.cli.words import moment
from pgflow_mp.client import PgFlow
from pgflow_mp.errors import FlowNotFound

if TYPE_CHECKING:
    import argparse

    from pgflow_mp.cli.database import Session


def run(arguments: argparse.Namespace) -> int:
    """Pause or resume the flows, all or none, and tell how they are then."""
    with session(arguments) as db:
        with db.conn.transaction():
            for slug in arguments.flows:
                _change(db, slug, paused=arguments.command == "pause")
        paused = PgFlow(db.dsn).paused_flows(conn=db.conn)
    if arguments.json:
        print_json([{"slug": slug, "paused_at": as_json(paused.get(slug))} for slug in arguments.flows])
        return OK
    for slug in arguments.flows:
        since = paused.get(slug)
        print_line(f"{slug}: " + (f"paused since {moment(since)}" if since is not None else "goes on"))
    return OK


def _change(db: Session, slug: str, *, paused: bool) -> None:
    app = PgFlow(db.dsn)
    try:
        (app.pause_flow if paused else app.resume_flow)(slug, conn=db.conn)
    except FlowNotFound as error:
        raise unknown_flow(db, slug) from error
