"""``pgflow-mp compile``: the flows of some modules, made or verified in one transaction.

All or nothing: every flow is looked at, so that one call lists all differences, and one difference means that
the transaction is rolled back. With ``--recompile`` a flow that differs is deleted with its runs and made anew.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pgflow_mp.cli.database import required_dsn, transaction
from pgflow_mp.cli.exits import FAILED, OK
from pgflow_mp.cli.loading import load_all
from pgflow_mp.client import PgFlow
from pgflow_mp.errors import ShapeMismatch

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    import psycopg

    from pgflow_mp.cli.loading import NamedFlow
    from pgflow_mp.core.queries.definitions import Compiled


class _RolledBack(Exception):  # noqa: N818 - no error: it carries the mismatches out of the transaction
    def __init__(self, mismatches: list[ShapeMismatch]) -> None:
        super().__init__()
        self.mismatches = mismatches


def run(arguments: argparse.Namespace) -> int:
    """Compile all flows of the modules, and print one line for each."""
    flows = load_all(arguments.modules)
    lines, mismatches = compile_all(required_dsn(arguments.dsn, "compile"), flows, recompile=arguments.recompile)
    for line in lines:
        print(line)
    return refuse(mismatches) if mismatches else OK


def compile_all(
    dsn: str, flows: Sequence[NamedFlow], *, recompile: bool = False
) -> tuple[list[str], list[ShapeMismatch]]:
    """Make or verify the flows in one transaction.

    Args:
        dsn: The database.
        flows: The flows.
        recompile: Delete a flow that differs, with all its runs, and make it anew.

    Returns:
        A line for each flow, and the flows that differ; where there is one of these, nothing was changed and
        there are no lines.
    """
    try:
        with transaction(dsn, "compile") as conn:
            return _compile(dsn, flows, conn, recompile=recompile), []
    except _RolledBack as rolled_back:
        return [], rolled_back.mismatches


def refuse(mismatches: Sequence[ShapeMismatch]) -> int:
    """Say what differs; the exit code."""
    for mismatch in mismatches:
        print(f"pgflow-mp: {mismatch}", file=sys.stderr)
    return FAILED


def _compile(dsn: str, flows: Sequence[NamedFlow], conn: psycopg.Connection[object], *, recompile: bool) -> list[str]:
    lines, mismatches = [], []
    with PgFlow(dsn) as app:
        for flow in flows:
            try:
                compiled = app.compile(flow.definition, recompile=recompile, conn=conn)
            except ShapeMismatch as mismatch:
                mismatches.append(mismatch)
            else:
                lines.append(describe(flow.definition.slug, compiled))
    if mismatches:
        raise _RolledBack(mismatches)
    return lines


def describe(slug: str, compiled: Compiled) -> str:
    """One line about one flow: ``process_order: verified, options updated (timeout of step charge: 60 -> 120)``."""
    deleted = [f"its earlier runs are deleted ({'; '.join(compiled.differences)})"] * (compiled.status == "recompiled")
    return f"{slug}: {', '.join([compiled.status, *deleted, *remarks(compiled)])}"


def remarks(compiled: Compiled) -> list[str]:
    """What compiling changed in a flow that was there in the right shape."""
    said = []
    if compiled.options_changed:
        said.append(f"options updated ({'; '.join(compiled.options_changed)})")
    if compiled.queues_restored:
        said.append(
            f"queue made again ({', '.join(compiled.queues_restored)}), its tables were gone; tasks that waited in it "
            "come back by pgflow_mp.repair(dry_run => false)"
        )
    return said
