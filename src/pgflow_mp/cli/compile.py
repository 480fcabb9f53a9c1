"""``pgflow-mp compile``: the flows of some modules, made or verified in one transaction.

All or nothing: every flow is looked at, so that one call lists all differences, and one difference means that
the transaction is rolled back. With ``--recompile`` a flow that differs is deleted with its runs and made anew. With
``--check`` nothing is changed, and whatever is not in the database as it is in the code is told.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pgflow_mp.cli.database import named, session, transaction
from pgflow_mp.cli.exits import FAILED, OK
from pgflow_mp.cli.loading import load_all
from pgflow_mp.cli.objects import as_json
from pgflow_mp.cli.output import print_json, print_line
from pgflow_mp.client import PgFlow
from pgflow_mp.client.telling import Telling
from pgflow_mp.core.queries.definitions import Compiled, check_flow
from pgflow_mp.errors import ShapeMismatch
from pgflow_mp.hooks.manager import Plugins

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    import psycopg

    from pgflow_mp.cli.loading import NamedFlow


class _RolledBack(Exception):  # noqa: N818 - no error: it carries the mismatches out of the transaction
    def __init__(self, mismatches: list[ShapeMismatch]) -> None:
        super().__init__()
        self.mismatches = mismatches


def run(arguments: argparse.Namespace) -> int:
    """Compile or check all flows of the modules, and print one line for each."""
    flows = load_all(arguments.modules)
    if arguments.check:
        return _check(arguments, flows)
    plugins = Plugins.load()  # what is wrong with one is said before anything is changed
    with named(arguments) as dsn:
        compiled, mismatches = compile_all(dsn, flows, recompile=arguments.recompile)
    telling = Telling(plugins)
    for slug, outcome in compiled.items():
        telling.compiled(slug, outcome)
    if arguments.json:
        refused = {mismatch.slug: Compiled("mismatch", mismatch.differences, ()) for mismatch in mismatches}
        print_json(_objects(compiled or refused))
    else:
        for slug, outcome in compiled.items():
            print_line(describe(slug, outcome))
    return refuse(mismatches) if mismatches else OK


def compile_all(
    dsn: str, flows: Sequence[NamedFlow], *, recompile: bool = False
) -> tuple[dict[str, Compiled], list[ShapeMismatch]]:
    """Make or verify the flows in one transaction.

    Args:
        dsn: The database.
        flows: The flows.
        recompile: Delete a flow that differs, with all its runs, and make it anew.

    Returns:
        What was done with each flow, by slug, and the flows that differ; where there is one of these, nothing was
        changed and nothing was done.
    """
    try:
        with transaction(dsn, "compile") as conn:
            return _compile(dsn, flows, conn, recompile=recompile), []
    except _RolledBack as rolled_back:
        return {}, rolled_back.mismatches


def refuse(mismatches: Sequence[ShapeMismatch]) -> int:
    """Say what differs; the exit code."""
    for mismatch in mismatches:
        print(f"pgflow-mp: {mismatch}", file=sys.stderr)
    return FAILED


def _compile(
    dsn: str, flows: Sequence[NamedFlow], conn: psycopg.Connection[object], *, recompile: bool
) -> dict[str, Compiled]:
    done, mismatches = {}, []
    with PgFlow(dsn) as app:
        for flow in flows:
            try:
                done[flow.definition.slug] = app.compile(flow.definition, recompile=recompile, conn=conn)
            except ShapeMismatch as mismatch:
                mismatches.append(mismatch)
    if mismatches:
        raise _RolledBack(mismatches)
    return done


def _check(arguments: argparse.Namespace, flows: Sequence[NamedFlow]) -> int:
    """Tell what compiling would find; exit code 1 when it would find anything."""
    with session(arguments) as db:
        found = {
            flow.definition.slug: db.ask(
                check_flow(flow.definition.slug, flow.definition.shape(), flow.definition.schedules)
            )
            for flow in flows
        }
    if arguments.json:
        print_json(_objects(found))
    else:
        for slug, checked in found.items():
            print_line("\n  - ".join([f"{slug}: {checked.status}", *_findings(checked)]))
    return OK if all(checked.nothing_to_do for checked in found.values()) else FAILED


def _findings(checked: Compiled) -> list[str]:
    return [
        *checked.differences,
        *(f"option {change}" for change in checked.options_changed),
        *(f"option {change}, which stays as it is: the core is somebody else's" for change in checked.options_left),
        *(f"the tables of queue {queue} are gone" for queue in checked.queues_restored),
        *(f"{change} by compiling" for change in checked.schedules_changed),
    ]


def _objects(compiled: Mapping[str, Compiled]) -> list[dict[str, Any]]:
    return [{"slug": slug, **as_json(outcome)} for slug, outcome in compiled.items()]


def describe(slug: str, compiled: Compiled) -> str:
    """One line about one flow: ``process_order: verified, options updated (timeout of step charge: 60 -> 120)``."""
    deleted = [f"its earlier runs are deleted ({'; '.join(compiled.differences)})"] * (compiled.status == "recompiled")
    return f"{slug}: {', '.join([compiled.status, *deleted, *remarks(compiled)])}"


def remarks(compiled: Compiled) -> list[str]:
    """What compiling changed in a flow that was there in the right shape."""
    said = []
    if compiled.options_changed:
        said.append(f"options updated ({'; '.join(compiled.options_changed)})")
    if compiled.options_left:
        said.append(f"options stay as they are, the core is somebody else's ({'; '.join(compiled.options_left)})")
    if compiled.queues_restored:
        said.append(
            f"queue made again ({', '.join(compiled.queues_restored)}), its tables were gone; tasks that waited in it "
            "come back by `pgflow-mp repair`"
        )
    return [*said, *compiled.schedules_changed]
