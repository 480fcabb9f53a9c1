"""``pgflow-mp compile``: the flows of some modules, made or verified in one transaction.

All or nothing: every flow is looked at, so that one call lists all differences, and one difference means that
the transaction is rolled back.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pgflow_mp.cli.database import required_dsn
from pgflow_mp.cli.exits import FAILED, OK
from pgflow_mp.cli.loading import load_all
from pgflow_mp.client import PgFlow
from pgflow_mp.connecting import connect
from pgflow_mp.errors import ShapeMismatch

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    import psycopg

    from pgflow_mp.cli.loading import NamedFlow


class _RolledBack(Exception):  # noqa: N818 - no error: it carries the mismatches out of the transaction
    def __init__(self, mismatches: list[ShapeMismatch]) -> None:
        super().__init__()
        self.mismatches = mismatches


def run(arguments: argparse.Namespace) -> int:
    """Compile all flows of the modules, and print one line for each."""
    flows = load_all(arguments.modules)
    lines, mismatches = compile_all(required_dsn(arguments.dsn, "compile"), flows)
    for line in lines:
        print(line)
    return refuse(mismatches) if mismatches else OK


def compile_all(dsn: str, flows: Sequence[NamedFlow]) -> tuple[list[str], list[ShapeMismatch]]:
    """Make or verify the flows in one transaction.

    Returns:
        A line for each flow, and the flows that differ; where there is one of these, nothing was changed and
        there are no lines.
    """
    with connect(dsn, purpose="compile") as conn:
        try:
            with conn.transaction():
                return _compile(dsn, flows, conn), []
        except _RolledBack as rolled_back:
            return [], rolled_back.mismatches


def refuse(mismatches: Sequence[ShapeMismatch]) -> int:
    """Say what differs; the exit code."""
    for mismatch in mismatches:
        print(f"pgflow-mp: {mismatch}", file=sys.stderr)
    return FAILED


def _compile(dsn: str, flows: Sequence[NamedFlow], conn: psycopg.Connection[object]) -> list[str]:
    lines, mismatches = [], []
    with PgFlow(dsn) as app:
        for flow in flows:
            try:
                compiled = app.compile(flow.definition, conn=conn)
            except ShapeMismatch as mismatch:
                mismatches.append(mismatch)
            else:
                lines.append(describe(flow.definition.slug, compiled.status, compiled.options_changed))
    if mismatches:
        raise _RolledBack(mismatches)
    return lines


def describe(slug: str, status: str, options_changed: Sequence[str]) -> str:
    """One line about one flow: ``process_order: verified, options updated (charge: timeout 60 -> 120)``."""
    updated = f", options updated ({'; '.join(options_changed)})" if options_changed else ""
    return f"{slug}: {status}{updated}"
