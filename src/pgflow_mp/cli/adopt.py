"""``pgflow-mp adopt``: make somebody else's schema pgflow ours; without ``--yes`` only tell what that would change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.cli.database import named
from pgflow_mp.cli.exits import FAILED, OK, UsageError
from pgflow_mp.cli.objects import as_json
from pgflow_mp.cli.output import Column, print_json, print_line, print_table
from pgflow_mp.core.adopt import PATIENCE, adopt
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from pgflow_mp.core.adopt import Plan

_COLUMNS = (Column("ABOUT"), Column("CHANGE"))


def run(arguments: argparse.Namespace) -> int:
    """Plan, and carry out with ``--yes``; exit code 1 when something is in the way."""
    patience = PATIENCE if arguments.wait is None else arguments.wait
    if patience < 0:
        raise UsageError(f"--wait takes a number of seconds that is not negative, not {patience:g}")
    with named(arguments) as dsn:
        plan = adopt(dsn, carry_out=arguments.yes, patience=patience)
    if arguments.json:
        print_json(as_json(plan))
    elif arguments.sql:
        _print_script(plan)
    else:
        _print(plan)
    return FAILED if plan.obstacles else OK


def _print(plan: Plan) -> None:
    print_line(plan.found)
    if plan.is_ours:
        print_line("there is nothing to adopt; `pgflow-mp install` brings it up to date")
        return
    _print_list("in the way", plan.obstacles)
    if plan.changes:
        print_line()
        print_table(_COLUMNS, [(change.about, change.text) for change in plan.changes])
    _print_list("to know", plan.notes)
    print_line()
    print_line(_outcome(plan))


def _print_list(heading: str, sentences: Iterable[str]) -> None:
    for place, sentence in enumerate(sentences):
        if place == 0:
            print_line()
            print_line(f"{heading}:")
        print_line(f"- {sentence}")


def _outcome(plan: Plan) -> str:
    if plan.obstacles:
        things = counted(len(plan.obstacles), "thing is", "things are")
        return f"{things} in the way; nothing was changed"
    changes = counted(len(plan.changes), "change")
    if plan.done:
        return f"{changes} made: the schema is pgflow-mp's now"
    return f"{changes} to make; nothing was changed. Carry out with: pgflow-mp adopt --yes"


def _print_script(plan: Plan) -> None:
    """The statements as a script that psql could run; what is in the way, as comments."""
    for sentence in (*plan.obstacles, *plan.notes):
        print_line(f"-- {sentence}")
    if plan.changes:
        print_line("begin;\nset local lock_timeout = '5s';")
    for change in plan.changes:
        print_line(f"\n-- {change.text}")
        for statement in change.statements:
            print_line(f"{statement.strip().removesuffix(';')};")
    if plan.changes:
        print_line("\ncommit;")
