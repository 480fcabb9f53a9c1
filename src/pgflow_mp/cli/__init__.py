"""The command line: ``pgflow-mp COMMAND``.

A surface: it reads arguments, calls the layers below, and turns what they say into lines and an exit
code (`exits`). Each command is a module of its own, imported when it is asked for: ``--help`` is instant.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import traceback
from typing import TYPE_CHECKING

from pgflow_mp.cli import parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after the program's name; those of this process by default.

    Returns:
        The exit code; `pgflow_mp.cli.exits` lists what each means.
    """
    try:
        arguments = parser.parse(argv)
    except SystemExit as exit_:  # argparse has printed the help or the usage error
        return exit_.code if isinstance(exit_.code, int) else 2
    try:
        return _run(arguments)
    finally:
        _let_go_of_stdout()


def _run(arguments: argparse.Namespace) -> int:
    """Run the command that was asked for; whatever it raises becomes a sentence and a code."""
    from pgflow_mp.cli import exits

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what the locale cannot write is shown as an escape, and no error
            stream.reconfigure(errors="backslashreplace")
    try:
        command = importlib.import_module(f"pgflow_mp.cli.{arguments.module}")
        code: int = command.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("pgflow-mp: interrupted", file=sys.stderr)
        return exits.INTERRUPTED
    except BrokenPipeError:  # whoever read our stdout has left (`| head`)
        return exits.OK
    except Exception as error:  # noqa: BLE001 - the last one to meet it: nothing may end in a bare traceback
        if exits.wants_traceback(arguments.traceback):
            traceback.print_exc()
        return exits.report(error)
    return code


def _let_go_of_stdout() -> None:
    """Drop what stdout did not take, for Python would try to write it, and complain again, at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
