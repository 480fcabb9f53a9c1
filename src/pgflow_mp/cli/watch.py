"""``pgflow-mp watch``: one run until it ends, or all that are under way.

On a terminal a table is redrawn in place, anywhere else each event is a line; with ``--json`` each change is one. All
of it is on stdout: here the progress is what was asked for.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final

from pgflow_mp.cli import naming
from pgflow_mp.cli.crowd import crowd_display
from pgflow_mp.cli.database import session
from pgflow_mp.cli.exits import FAILED, OK, TIMED_OUT, UsageError
from pgflow_mp.cli.failure import explain
from pgflow_mp.cli.objects import as_json
from pgflow_mp.cli.output import print_json_line
from pgflow_mp.cli.screen import display
from pgflow_mp.cli.waiting import pause_after, wait_for
from pgflow_mp.core.queries.progress import active_runs

if TYPE_CHECKING:
    import argparse
    from uuid import UUID

    from pgflow_mp.cli.database import Session
    from pgflow_mp.core.queries.progress import RunProgress

#: How many runs are followed at a time, the newest ones.
_FOLLOWED: Final = 100


def run(arguments: argparse.Namespace) -> int:
    """Watch until there is nothing more to see."""
    if arguments.run_id is not None and arguments.flow is not None:
        raise UsageError("--flow is for watching all runs of a flow: leave it out, or leave out the run's id")
    run_id = None if arguments.run_id is None else naming.run_id(arguments.run_id)
    with session(arguments) as db:
        if run_id is not None:
            return _watch_one(db, run_id, arguments)
        return _watch_all(db, arguments)


def _watch_one(db: Session, run_id: UUID, arguments: argparse.Namespace) -> int:
    if arguments.json:
        seen = wait_for(db, run_id, _JsonLines(run_id).show, seconds=arguments.timeout)
    else:
        screen = display(sys.stdout)
        seen = wait_for(db, run_id, screen.show, close=screen.close, seconds=arguments.timeout)
    if seen.status == "completed":
        return OK
    print(f"pgflow-mp: {explain(naming.stored_run(db, str(run_id)))}", file=sys.stderr)
    return FAILED


class _JsonLines:
    """A line for each snapshot in which something other than the time has changed."""

    def __init__(self, run_id: UUID) -> None:
        self._run_id = str(run_id)
        self._said: Any = None

    def show(self, progress: RunProgress) -> None:
        """Print the snapshot, if it tells anything new."""
        found = as_json(progress)
        news = _without_times(found)
        if news != self._said:
            self._said = news
            print_json_line({"run_id": self._run_id, **found})


def _without_times(progress: dict[str, Any]) -> dict[str, Any]:
    steps = [{name: value for name, value in step.items() if name != "seconds"} for step in progress["steps"]]
    return {"status": progress["status"], "steps": steps}


def _watch_all(db: Session, arguments: argparse.Namespace) -> int:
    """Watch until interrupted, or until the time is up: nothing has failed then, so that is no error of its own."""
    flow = None if arguments.flow is None else naming.known_flow(db, arguments.flow)
    give_up = None if arguments.timeout is None else time.monotonic() + arguments.timeout
    screen = crowd_display(db, flow, json=arguments.json)
    try:
        while True:
            began = time.monotonic()
            screen.show(db.ask(active_runs(flow, _FOLLOWED)))
            pause = pause_after(time.monotonic() - began)
            if give_up is not None:
                if time.monotonic() >= give_up:
                    return TIMED_OUT
                pause = min(pause, max(0.0, give_up - time.monotonic()))
            time.sleep(pause)
    finally:
        screen.close()
