"""``pgflow-mp run``: one run of one flow, from nothing to its output.

    load the flow and the input    nothing is touched before both are right
    a database                     the one named, or the user's own embedded one
    compile and start              one transaction: a refused start leaves nothing behind
    work it off                    this run only (D-24), `work`
    tell                           output on stdout, or the failing step on stderr

stdout carries the output and nothing else: whatever handlers and their children print goes to stderr.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pgflow_mp.cli import database, logs
from pgflow_mp.cli.compile import remarks
from pgflow_mp.cli.exits import FAILED, OK
from pgflow_mp.cli.failure import explain
from pgflow_mp.cli.given import read_input
from pgflow_mp.cli.loading import load_one
from pgflow_mp.cli.objects import as_json
from pgflow_mp.cli.plugins import load as load_plugins
from pgflow_mp.cli.screen import display
from pgflow_mp.cli.work import work_off
from pgflow_mp.client import PgFlow
from pgflow_mp.client.telling import Telling
from pgflow_mp.core.queries.runs import StartedRun
from pgflow_mp.executors.process.pool import usable_cores
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from uuid import UUID

    from pgflow_mp.cli.database import Database
    from pgflow_mp.cli.screen import Display
    from pgflow_mp.definition import FlowDefinition
    from pgflow_mp.results import Run


def run(arguments: argparse.Namespace) -> int:
    """Run the flow once; the exit code tells how it ended."""
    logs.to_stderr(logging.INFO if arguments.verbose else logging.WARNING, "%(levelname)s %(message)s")
    value = read_input(arguments.input)
    plugins = load_plugins(arguments)
    with _stdout_is_stderr() as stdout:
        flow = load_one(arguments.target).definition
        screen = display()
        with database.opened(arguments, screen) as db, PgFlow(db.dsn) as app:
            run_id = start(app, db, flow, value, screen, Telling(plugins))
            processes = arguments.processes or usable_cores()
            screen.say(f"{flow.slug}, run {run_id}")
            screen.say(f"{counted(processes, 'process', 'processes')}, {db.title}")
            working = work_off(
                db.dsn, flow, run_id, screen, processes=processes, seconds=arguments.timeout, plugins=plugins
            )
            asyncio.run(working)
            return _tell(app.get_run_with_states(run_id), stdout, whole=arguments.json)


def start(app: PgFlow, db: Database, flow: FlowDefinition, value: Any, screen: Display, telling: Telling) -> UUID:
    """Compile the flow and start its run in one transaction, and tell the observers after it."""
    with database.transaction(db.dsn, "run") as conn:
        compiled = app.compile(flow, recompile=db.is_development, conn=conn)
        run_id = app.start_flow(flow, value, conn=conn)
        run = app.get_run_with_states(run_id, conn=conn)
    telling.compiled(flow.slug, compiled)
    telling.started(flow.slug, StartedRun.of(run), run)
    if compiled.status == "recompiled":
        screen.say(f"{flow.slug} was compiled anew, its earlier runs are deleted: {'; '.join(compiled.differences)}")
    for remark in remarks(compiled):
        screen.say(f"{flow.slug}: {remark}")
    return run_id


def _tell(result: Run, stdout: int, *, whole: bool) -> int:
    """Print the output, or the whole run; a failed one is explained on stderr."""
    if whole:
        _write_json(stdout, as_json(result))
    elif not result.failed:
        _write_json(stdout, result.output)
    if result.failed:
        print(f"pgflow-mp: {explain(result)}", file=sys.stderr)
        return FAILED
    return OK


def _write_json(stdout: int, value: Any) -> None:
    with os.fdopen(
        os.dup(stdout), "w", encoding="utf-8"
    ) as stream:  # JSON is UTF-8 whatever the locale (RFC 8259, 8.1)
        json.dump(value, stream, indent=2, ensure_ascii=False)
        stream.write("\n")


@contextmanager
def _stdout_is_stderr() -> Iterator[int]:
    """Let file descriptor 1 mean stderr, here and in all children; yield the real stdout."""
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield stdout
    finally:
        sys.stdout.flush()
        os.dup2(stdout, 1)
        os.close(stdout)
