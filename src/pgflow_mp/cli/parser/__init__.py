"""What can be typed: the argparse tree with its help. Names only the command modules, imports none.

One module a group of commands; `options` holds what they share.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pgflow_mp import __version__
from pgflow_mp.cli.parser import flows, options, runs, schedules, upkeep, work

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

_ABOUT = "pgflow workflows from Python: Postgres keeps the state, steps run in processes of their own."

_EPILOG = """\
examples:
  pgflow-mp run flows.py '{"order_id": 123}'     run one flow; no DSN needed, an embedded Postgres is used
  pgflow-mp install --dsn DSN                    make a database ready, once
  pgflow-mp serve app.flows --dsn DSN            work off all runs of these flows until stopped
  pgflow-mp start process_order --dsn DSN        start a run for those workers
  pgflow-mp show RUN_ID --dsn DSN                how it went, step by step
  pgflow-mp doctor --dsn DSN                     what is installed, who works, what is stuck

PGFLOW_DSN=... in the environment spares --dsn. Every command has --help with examples.

exit codes:
  0 done   1 the run failed, the database refused, or something needs a person   2 usage or bad input
  3 the database cannot be used   124 not done within --timeout   130 interrupted   70 a defect of pgflow-mp
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments; the process ends with a usage error, or with the help, where argparse ends it.

    argparse gives an optional positional its default as soon as it meets an option, and then does not know the one
    that follows: ``run flows.py --processes 2 '{}'``. It is the input all the same.
    """
    parser = make()
    arguments, rest = parser.parse_known_args(argv)
    if "input" in arguments and arguments.input is None:
        given = len(rest) == 1 and (rest == ["-"] or not rest[0].startswith("-"))
        arguments.input, rest = (rest[0], []) if given else ("{}", rest)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return arguments


def commands(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    """The commands of the whole parser, by name."""
    (action,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001
    return dict(action.choices)


def actions(command: ArgumentParser) -> dict[str, ArgumentParser]:
    """The actions of a command that has several, by name."""
    found = [action for action in command._actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001
    return dict(found[0].choices) if found else {}


def make() -> ArgumentParser:
    """The whole parser."""
    parser = argparse.ArgumentParser(
        "pgflow-mp",
        description=_ABOUT,
        epilog=_EPILOG,
        formatter_class=options.Help,
    )
    parser.add_argument("--version", action="version", version=f"pgflow-mp {__version__}")
    places = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (work, runs, flows, schedules, upkeep):
        group.add(places)
    return parser
