"""Commands about when flows run: schedules with its actions, pause, resume."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pgflow_mp.cli.parser.options import add_database, add_input, command

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

_SCHEDULES = """\
List the schedules: what starts by itself, when next, and what the last tick did. With an action: make, change, pause,
resume, delete one, or start a run of it now.
"""

_SCHEDULES_EXAMPLES = """\
  pgflow-mp schedules                                     all of them
  pgflow-mp schedules list process_order                  those of a flow
  pgflow-mp schedules --json | jq -r '.[] | select(.last_error) | .name'
  pgflow-mp schedules add process_order --cron '30 3 * * *' --time-zone Europe/Berlin
  pgflow-mp schedules pause process_order                 and `resume`, `run-now`, `delete`
"""

_ADD = """\
Make a schedule of a flow or job, or change the one of that name. Workers start its runs from then on, each tick once.
"""

_ADD_EXAMPLES = """\
  pgflow-mp schedules add process_order '{"order_id": 1}' --cron '30 9 * * MON-FRI' --time-zone Europe/Berlin
  pgflow-mp schedules add send_mail @mail.json --every 15m --name reminders
"""

_PAUSE = """\
Pause flows: workers of pgflow-mp take none of their tasks and their schedules do not tick. What runs goes on to its
end, runs can be started and wait. Workers of other languages do not know of pauses.
"""

_RESUME = """\
Let paused flows go on. What their schedules missed is not caught up.
"""


def add(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Add the commands."""
    _add_schedules(commands)
    for name, about in (("pause", _PAUSE), ("resume", _RESUME)):
        examples = f"  pgflow-mp {name} process_order\n  pgflow-mp {name} process_order send_mail --json\n"
        made = command(commands, name, f"{name} flows", about, examples)
        made.set_defaults(module="pause")
        made.add_argument("flows", nargs="+", metavar="FLOW", help="the slugs of the flows")
        add_database(made)


def _add_schedules(commands: _SubParsersAction[ArgumentParser]) -> None:
    schedules = command(commands, "schedules", "list schedules, or change them", _SCHEDULES, _SCHEDULES_EXAMPLES)
    schedules.set_defaults(action="list", flow=None)
    add_database(schedules)
    actions = schedules.add_subparsers(title="actions", metavar="ACTION")
    about, examples = "List schedules, all or those of a flow.", "  pgflow-mp schedules list process_order\n"
    listing = _action(actions, "list", "list them: what `schedules` does without an action", about, examples)
    listing.add_argument("flow", nargs="?", metavar="FLOW", help="those of this flow; left out: all")
    _add_add(actions)
    for name, does in (
        ("pause", "let it start nothing until it is resumed"),
        ("resume", "let it go on with its next tick"),
        ("run-now", "start a run of it now; its ticks go on as they would have"),
        ("delete", "delete one that was not declared in code; its runs stay"),
    ):
        made = _action(actions, name, does, f"{does.capitalize()}.", f"  pgflow-mp schedules {name} process_order\n")
        made.add_argument("name", metavar="NAME", help="the schedule's name, as `schedules` lists it")


def _add_add(actions: _SubParsersAction[ArgumentParser]) -> None:
    made = _action(actions, "add", "make one, or change the one of that name", _ADD, _ADD_EXAMPLES)
    made.add_argument("flow", metavar="FLOW", help="the slug of the flow or job")
    add_input(made)
    when = made.add_mutually_exclusive_group(required=True)
    when.add_argument("--cron", metavar="EXPR", help="five fields: minute, hour, day of month, month, day of week")
    when.add_argument("--every", metavar="SPAN", help="an interval: 90s, 15m, 2h, 3d")
    made.add_argument("--time-zone", default="UTC", metavar="ZONE", help="of the cron expression; default: UTC")
    made.add_argument(
        "--catch-up", choices=("skip", "once", "all"), default="once",
        help="what becomes of ticks that no worker was there for; default: one run for all of them",
    )  # fmt: skip
    made.add_argument("--name", metavar="NAME", help="its name in the database; default: the flow's slug")


def _action(
    actions: _SubParsersAction[ArgumentParser], name: str, summary: str, about: str, examples: str = ""
) -> ArgumentParser:
    """Add an action; what the command's own options said holds unless it is said again."""
    made = command(actions, name, summary, about, examples)
    made.set_defaults(module="schedules", command=f"schedules {name}", action=name)
    add_database(made)
    for option in made._actions:  # noqa: SLF001 - argparse would put these defaults in place of what was said before
        if option.dest in ("json", "traceback", "dsn", "dev"):
            option.default = argparse.SUPPRESS
    return made
