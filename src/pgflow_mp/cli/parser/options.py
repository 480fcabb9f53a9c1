"""What commands have in common: how one is added, the options that many take, and the kinds of numbers."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

_LAST_PORT = 65535


class Help(argparse.RawDescriptionHelpFormatter):
    """Leaves room for the names of commands, which stand further in than argparse reckons with."""

    def add_argument(self, action: argparse.Action) -> None:
        """Measure the action as if it stood as far in as what is below it."""
        self._indent()
        super().add_argument(action)
        self._dedent()


def command(
    commands: _SubParsersAction[ArgumentParser],
    name: str,
    summary: str,
    about: str,
    examples: str = "",
    *,
    json: str | None = "print JSON: docs/cli.md lists the keys",
) -> ArgumentParser:
    """Add a command.

    Args:
        commands: Where to.
        name: Its name, and its module's in `pgflow_mp.cli` (a dash becomes an underscore).
        summary: One line for the list of commands.
        about: What its help says first.
        examples: Command lines, each with what it does behind it.
        json: What ``--json`` does; None for a command that has nothing to print as JSON.
    """
    made = commands.add_parser(
        name,
        help=summary,
        description=about,
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=Help,
    )
    made.set_defaults(module=name.replace("-", "_"), command=name)
    if json is not None:
        made.add_argument("--json", action="store_true", help=json)
    made.add_argument(
        "--traceback", action="store_true", help="show the Python stack of an error (also: PGFLOW_DEBUG=1)"
    )
    return made


def add_modules(command: ArgumentParser, *, needed: bool = True) -> None:
    """Targets; one at least where they are needed."""
    command.add_argument(
        "modules",
        nargs="+" if needed else "*",
        metavar="MODULE",
        help="a module (app.flows) or a file (flows.py); MODULE:Flow for one flow",
    )


def add_database(command: ArgumentParser, default: str = "PGFLOW_DSN") -> None:
    """Which database: ``--dsn``, ``--dev``, else the environment, or what else the command does then."""
    which = command.add_mutually_exclusive_group()
    which.add_argument("--dsn", help=f"the database, as postgresql://... or key=value words; default: {default}")
    which.add_argument("--dev", action="store_true", help="your development database, the one that `run` uses")


def add_input(command: ArgumentParser) -> None:
    """The input of a run; `pgflow_mp.cli.parser.parse` fills in the default."""
    command.add_argument("input", nargs="?", metavar="INPUT", help="JSON, @file, or - for stdin; default: {}")


def add_once(command: ArgumentParser) -> None:
    """When not to start another run."""
    command.add_argument(
        "--key", metavar="KEY", help="start one run for this idempotency key; called again, print that run's id"
    )
    command.add_argument(
        "--unique",
        action="store_true",
        help="start none while one that was started so is going: of the flow, or with --key of the key",
    )


def add_processes(command: ArgumentParser) -> None:
    """How many children."""
    command.add_argument("--processes", type=count, metavar="N", help="child processes; default: one for each core")


def add_plugins(command: ArgumentParser) -> None:
    """Plugins besides the installed ones."""
    command.add_argument(
        "--plugin", action="append", default=[], metavar="MODULE",
        help="load this plugin (a module, or MODULE:OBJECT) besides the installed ones; repeatable",
    )  # fmt: skip


def count(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def seconds(text: str) -> float:
    """A number of seconds, 0 or more."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return number


def positive_seconds(text: str) -> float:
    """A number of seconds above 0."""
    if (number := seconds(text)) == 0:
        raise argparse.ArgumentTypeError("must be more than 0 seconds")
    return number


def address(text: str) -> tuple[str, int]:
    """A host and a port; loopback where only a port is given."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no address: write HOST:PORT or PORT, as in 127.0.0.1:8080")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)
