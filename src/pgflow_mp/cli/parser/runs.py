"""Commands about runs: show, watch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.cli.parser.options import add_database, command, positive_seconds

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

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


def add(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Add the commands."""
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
