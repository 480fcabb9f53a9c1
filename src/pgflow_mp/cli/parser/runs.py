"""Commands about runs: runs, show, watch, cancel, retry."""

from __future__ import annotations

from argparse import BooleanOptionalAction
from typing import TYPE_CHECKING

from pgflow_mp.cli.parser.options import add_database, command, count, positive_seconds

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

_RUNS = """\
List runs, the latest first, a page at a time. Conditions hold together. A time is one of a clock (2026-11-23,
2026-11-23T14:00, with a zone or on yours) or so long ago: 90s, 15m, 2h, 3d.
"""

_RUNS_EXAMPLES = """\
  pgflow-mp runs                                          the latest 20 runs
  pgflow-mp runs --flow process_order --status failed     the failed runs of a flow
  pgflow-mp runs --since 2h --input '{"order_id": 1}'     of the last two hours, whose input contains this
  pgflow-mp runs --json | jq -r '.runs[].run_id'          the ids; `.next` goes to --after for the next page
"""

_SHOW = """\
Show one run: its steps with their timings, attempts and errors, the tasks of a map step that are worth a line (those
that run, failed or were tried again), its input and output.
"""

_SHOW_EXAMPLES = """\
  pgflow-mp show RUN_ID                                   a person's view
  pgflow-mp show RUN_ID --tasks                           every task of every map step
  pgflow-mp show RUN_ID --json | jq .steps.charge.output  one step's output
"""

_WATCH = """\
Watch a run until it ends: a table that is redrawn on a terminal, a line for each event anywhere else. The exit code
tells how it ended. Without a run: all runs that are under way, until you leave with Ctrl-C.
"""

_WATCH_EXAMPLES = """\
  pgflow-mp watch RUN_ID                                  until the run ends: 0 it completed, 1 it failed
  pgflow-mp watch RUN_ID --timeout 60                     for a minute at the most: 124 it goes on
  pgflow-mp watch                                         everything that is under way
  pgflow-mp watch RUN_ID --json                           a line of JSON whenever something changed
"""

_CANCEL = """\
Cancel runs that are still going: nothing of them starts any more, and what runs is ended, on whichever worker. A run
that has ended stays as it is.
"""

_CANCEL_EXAMPLES = """\
  pgflow-mp cancel RUN_ID                                 one run, or several
  pgflow-mp runs --flow process_order --status started --json | jq -r '.runs[].run_id' | xargs pgflow-mp cancel
"""

_RETRY = """\
Start new runs that repeat runs which have ended, with the same input, and print their ids. The old ones stay as they
are.
"""

_RETRY_EXAMPLES = """\
  pgflow-mp retry RUN_ID                                  the whole run again
  pgflow-mp retry RUN_ID --from-failed                    keep what completed, repeat the rest
"""


def add(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Add the commands."""
    _add_runs(commands)
    show = command(commands, "show", "show one run, step by step", _SHOW, _SHOW_EXAMPLES)
    show.add_argument("run_id", metavar="RUN_ID", help="the run's id, as `start` prints it")
    show.add_argument("--tasks", action="store_true", help="list every task of every map step")
    add_database(show)

    watch = command(
        commands, "watch", "watch a run, or all that are under way", _WATCH, _WATCH_EXAMPLES,
        json="print JSON lines, one whenever something changed; docs/cli.md lists the keys",
    )  # fmt: skip
    watch.add_argument("run_id", nargs="?", metavar="RUN_ID", help="the run; left out: all that are under way")
    watch.add_argument("--flow", metavar="FLOW", help="without RUN_ID: the runs of this flow alone")
    watch.add_argument(
        "--timeout", type=positive_seconds, metavar="S", help="leave after this many seconds (exit code 124)"
    )
    add_database(watch)

    cancel = command(commands, "cancel", "cancel runs", _CANCEL, _CANCEL_EXAMPLES)
    cancel.add_argument("run_ids", nargs="+", metavar="RUN_ID", help="the ids of the runs")
    add_database(cancel)

    retry = command(commands, "retry", "repeat runs that have ended", _RETRY, _RETRY_EXAMPLES)
    retry.add_argument("run_ids", nargs="+", metavar="RUN_ID", help="the ids of the runs")
    retry.add_argument("--from-failed", action="store_true", help="begin with the steps that failed or had not ended")
    add_database(retry)


def _add_runs(commands: _SubParsersAction[ArgumentParser]) -> None:
    runs = command(commands, "runs", "list runs", _RUNS, _RUNS_EXAMPLES)
    runs.add_argument("--flow", action="append", metavar="FLOW", help="of this flow; repeatable")
    runs.add_argument(
        "--status", action="append", choices=("started", "completed", "failed"), help="with this status; repeatable"
    )
    runs.add_argument(
        "--cancelled", action=BooleanOptionalAction, help="only those that were cancelled, or only the others"
    )
    runs.add_argument("--since", metavar="TIME", help="started then or later")
    runs.add_argument("--until", metavar="TIME", help="started earlier than that")
    runs.add_argument("--input", dest="contains", metavar="JSON", help="whose input contains this JSON (jsonb's @>)")
    runs.add_argument("--limit", type=count, default=20, metavar="N", help="at most so many, up to 1000; default: 20")
    runs.add_argument("--after", metavar="PLACE", help="the next page: what the page before ended with")
    add_database(runs)
