"""``pgflow-mp doctor``: examine a database, and say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from pgflow_mp.cli.database import session
from pgflow_mp.cli.examination import examine
from pgflow_mp.cli.exits import FAILED, OK
from pgflow_mp.cli.objects import as_json
from pgflow_mp.cli.output import print_json, print_line
from pgflow_mp.cli.text import safe
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    import argparse

    from pgflow_mp.cli.examination import Finding

_MARKS: Final = {
    "ok": ("✔", "green"),
    "note": ("·", "dim"),
    "warning": ("!", "yellow"),
    "trouble": ("✘", "bold red"),
}


def run(arguments: argparse.Namespace) -> int:
    """Examine; exit code 1 when something needs a person."""
    with session(arguments) as db:
        found = list(examine(db))
    troubles = sum(finding.level == "trouble" for finding in found)
    if arguments.json:
        print_json(as_json(found))
    else:
        for finding in found:
            _print(finding)
        print_line()
        print_line(
            f"{counted(troubles, 'thing needs', 'things need')} a person" if troubles else "nothing needs a person"
        )
    return FAILED if troubles else OK


def _print(finding: Finding) -> None:
    sign, style = _MARKS[finding.level]
    print_line(
        Text.assemble(
            (f"{sign} {finding.level:<8}", style),
            (f" {finding.about:<13}", "bold"),
            safe(finding.text),
        )
    )
    if finding.command is not None:
        print_line(Text.assemble(" " * 11, ("→ ", "dim"), (safe(finding.command), "cyan")))
