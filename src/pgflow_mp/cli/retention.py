"""``pgflow-mp retention``: how long runs are kept after their end."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from pgflow_mp.cli.database import session
from pgflow_mp.cli.exits import OK, UsageError
from pgflow_mp.cli.moments import read_span
from pgflow_mp.cli.naming import known_flow
from pgflow_mp.cli.objects import as_json
from pgflow_mp.cli.output import print_json, print_line
from pgflow_mp.client import PgFlow

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Say it, if something is to be said, and tell what holds then."""
    says = arguments.keep is not None or arguments.forever or arguments.as_others
    keep = _wanted(arguments)
    with session(arguments) as db:
        app = PgFlow(db.dsn)
        flow = None if arguments.flow is None else known_flow(db, arguments.flow)
        if says:
            app.set_retention(keep, flow=flow, conn=db.conn)
        holds = app.get_retention(conn=db.conn)
    if arguments.json:
        print_json(as_json(holds))
    else:
        print_line(f"runs are kept {holds}")
    return OK


def _wanted(arguments: argparse.Namespace) -> timedelta | Literal["as others"] | None:
    if arguments.as_others:
        if arguments.flow is None:
            raise UsageError("--as-others takes the own rule of a flow away: name the flow")
        return "as others"
    return None if arguments.keep is None else timedelta(seconds=read_span(arguments.keep))
