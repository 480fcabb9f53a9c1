"""``pgflow-mp enqueue``: start a run, or many, that begin at a time of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgflow_mp.cli.database import session
from pgflow_mp.cli.exits import OK
from pgflow_mp.cli.moments import read_moment, read_span
from pgflow_mp.cli.naming import unknown_flow
from pgflow_mp.cli.start import print_ids, wanted_inputs, wanted_once
from pgflow_mp.client import PgFlow
from pgflow_mp.errors import FlowNotFound

if TYPE_CHECKING:
    import argparse
    from uuid import UUID

    from pgflow_mp.cli.database import Session


def run(arguments: argparse.Namespace) -> int:
    """Enqueue what was asked for, and print the ids."""
    inputs, how = wanted_inputs(arguments), {**_when(arguments), **wanted_once(arguments)}
    with session(arguments) as db:
        ids = _enqueue(db, arguments.flow, inputs, how)
    print_ids(ids, arguments)
    return OK


def _when(arguments: argparse.Namespace) -> dict[str, Any]:
    """When it shall begin, as the API takes it; a span is told to the database, whose clock counts."""
    if arguments.delay is not None:
        return {"delay_seconds": round(read_span(arguments.delay))}
    return {} if arguments.at is None else {"scheduled_at": read_moment(arguments.at)}


def _enqueue(db: Session, slug: str, inputs: list[object], how: dict[str, Any]) -> list[UUID]:
    try:
        return PgFlow(db.dsn).enqueue_many(slug, inputs, conn=db.conn, **how)
    except FlowNotFound as error:
        raise unknown_flow(db, slug) from error
