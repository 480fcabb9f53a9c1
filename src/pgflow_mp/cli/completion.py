"""``pgflow-mp completion SHELL``: the script by which a shell completes our commands and options, written by shtab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import shtab

from pgflow_mp.cli import parser
from pgflow_mp.cli.exits import OK

if TYPE_CHECKING:
    import argparse

#: What is (also) a file's name: a target, a module, and where a picture goes.
_FILES = ("target", "modules", "output")


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    root = parser.make()
    for command in parser.commands(root).values():
        for action in command._actions:  # noqa: SLF001 - argparse has no other way to list them, and shtab does the same
            if action.dest in _FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(root, arguments.shell))
    return OK
