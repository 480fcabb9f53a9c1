"""``pgflow-mp completion SHELL``: the script by which a shell completes our commands and options, written by shtab.

Slugs of flows are asked of the database that ``PGFLOW_DSN`` names, when the key is pressed; without one, or when it
does not answer, nothing is offered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import shtab

from pgflow_mp.cli import parser
from pgflow_mp.cli.exits import OK

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

#: What is (also) a file's name: a target, a module, and where a picture goes.
_FILES: Final = ("target", "modules", "output")

#: What is a slug of the database.
_FLOWS: Final = ("flow", "flows")

_ASK: Final = "pgflow-mp flows --slugs 2>/dev/null"
_SLUGS: Final = {
    "bash": "_pgflow_mp_slugs",
    "zsh": "_pgflow_mp_slugs",
    "fish": f"({_ASK})",
    "preamble": {
        "bash": f'_pgflow_mp_slugs() {{ compgen -W "$({_ASK})" -- "$1"; }}',
        "zsh": f"_pgflow_mp_slugs() {{ compadd -- $({_ASK}) }}",
    },
}


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    root = parser.make()
    for action in _actions(root):
        if action.dest in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.dest in _FLOWS:
            action.complete = _SLUGS  # type: ignore[attr-defined]
    print(shtab.complete(root, arguments.shell))
    return OK


def _actions(root: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """What all commands, and their own actions, take."""
    for command in parser.commands(root).values():
        for taking in (command, *parser.actions(command).values()):
            yield from taking._actions  # noqa: SLF001 - argparse lists them nowhere else; shtab does the same
