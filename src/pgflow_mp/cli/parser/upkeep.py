"""Commands that keep a database in order (install, compile, prune, doctor, ...); plugins and completion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.cli.parser.options import add_database, add_modules, add_plugins, command

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

_INSTALL = """\
Make a database ready for pgflow: pgmq, schema pgflow and schema pgflow_mp, in one transaction. Harmless to
repeat: what is already there is left as it is.
"""

_INSTALL_EXAMPLES = """\
  pgflow-mp install --dsn postgresql://me@db/app          make it ready, or bring it up to date
  pgflow-mp install --worker-role app_worker --client-role app
"""

_ADOPT = """\
Make a schema pgflow that another core of the family installed pgflow-mp's own, with all flows and runs in it. Without
--yes nothing is changed: every change is told, what is left alone, and what is in the way. With --yes it is carried out
in one transaction; workers of all generations go on working afterwards.
"""

_ADOPT_EXAMPLES = """\
  pgflow-mp adopt                                         tell what would be changed
  pgflow-mp adopt --sql > adopt.sql                       the same as SQL, to read
  pgflow-mp adopt --yes --wait 60                         do it; wait up to a minute for a moment without transactions
"""

_COMPILE = """\
Create the flows of the modules in the database, or verify that they are there in the same shape. All in one
transaction: if one flow differs, its differences are listed and nothing is changed; with --recompile it is
deleted with all its runs and made anew. Changed options (attempts, delays, timeouts) are no change of shape;
they are updated. With --check nothing is changed, and anything that is not as in the code is exit code 1.
"""

_COMPILE_EXAMPLES = """\
  pgflow-mp compile app.flows                             create or verify all flows of a module
  pgflow-mp compile app.flows --check                     only tell whether the database has them as they are here
  pgflow-mp compile app.flows:ProcessOrder --recompile    replace one; deletes its runs
"""

_PRUNE = """\
Delete runs that ended longer ago than a span, with their steps and tasks, and archived messages of that age; in
batches, each a transaction of its own. What has not ended is never deleted. Workers do the same by themselves: see
`pgflow-mp retention`.
"""

_PRUNE_EXAMPLES = """\
  pgflow-mp prune --older-than 30d                        in all flows
  pgflow-mp prune process_order --older-than 12h          in one flow, or several
"""

_RETENTION = """\
Tell or say how long runs are kept after their end before workers delete them: of all flows, or of one.
"""

_RETENTION_EXAMPLES = """\
  pgflow-mp retention                                     what holds
  pgflow-mp retention --keep 90d                          for all flows without a rule of their own
  pgflow-mp retention process_order --keep 7d             for one flow
  pgflow-mp retention process_order --forever             workers delete none of its runs
  pgflow-mp retention process_order --as-others           take its own rule away
"""

_DOCTOR = """\
Examine a database: what is installed and by whom, versions, workers that live and that are silent, queues that nobody
serves, stuck rows and orphaned messages; of a database that the tools of another language made, also whose workers can
run on it and what its core lacks. Each trouble comes with the command that mends it. Changes nothing. Exit code 1 when
something needs a person.
"""

_DOCTOR_EXAMPLES = """\
  pgflow-mp doctor                                        everything
  pgflow-mp doctor --json | jq '.[] | select(.level == "trouble")'
"""

_REPAIR = """\
Find rows that nothing would ever move again, as other cores, hand-written updates or a restored backup may leave them,
and mend them. Work that goes on normally is never touched.
"""

_REPAIR_EXAMPLES = """\
  pgflow-mp repair --dry-run                              only tell what is broken
  pgflow-mp repair                                        mend it, and tell what was mended
  pgflow-mp repair process_order                          in the runs of one flow
"""

_PLUGINS = """\
List the plugins that a worker would have: those that are installed (entry points of the group pgflow_mp) and those that
you name, each with its hooks. One that does not fit is an error that says why. With --hooks: what hooks there are.
"""

_PLUGINS_EXAMPLES = """\
  pgflow-mp plugins                                       what is installed
  pgflow-mp plugins --plugin app.alerts                   check a module of yours
  pgflow-mp plugins --hooks                               all hooks, and when each is called
"""

_COMPLETION = """\
Print a script that makes your shell complete the commands and options of pgflow-mp.
"""

_COMPLETION_EXAMPLES = """\
  pgflow-mp completion bash > ~/.local/share/bash-completion/completions/pgflow-mp
  pgflow-mp completion zsh > ~/.zfunc/_pgflow-mp          a folder of your $fpath
  pgflow-mp completion fish > ~/.config/fish/completions/pgflow-mp.fish
"""


def add(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Add the commands."""
    _add_install(commands)
    _add_adopt(commands)
    _add_compile(commands)

    _add_prune(commands)
    _add_retention(commands)

    doctor = command(commands, "doctor", "examine a database", _DOCTOR, _DOCTOR_EXAMPLES)
    add_database(doctor)

    repair = command(commands, "repair", "mend what is stuck", _REPAIR, _REPAIR_EXAMPLES)
    repair.add_argument("flows", nargs="*", metavar="FLOW", help="in these flows; left out: in all")
    repair.add_argument("--dry-run", action="store_true", help="only tell what is broken; change nothing")
    add_database(repair)

    plugins = command(commands, "plugins", "list plugins and their hooks", _PLUGINS, _PLUGINS_EXAMPLES)
    add_plugins(plugins)
    plugins.add_argument("--hooks", action="store_true", help="list the hooks that a plugin may have")

    completion = command(
        commands, "completion", "print a script for your shell", _COMPLETION, _COMPLETION_EXAMPLES, json=None
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))


def _add_install(commands: _SubParsersAction[ArgumentParser]) -> None:
    install = command(commands, "install", "make a database ready for pgflow", _INSTALL, _INSTALL_EXAMPLES)
    add_database(install)
    for kind, may in (("worker", "work off flows"), ("client", "start and read runs")):
        install.add_argument(
            f"--{kind}-role", action="append", default=[], metavar="ROLE", help=f"let this role {may}; repeatable"
        )


def _add_adopt(commands: _SubParsersAction[ArgumentParser]) -> None:
    adopt = command(commands, "adopt", "take over a schema pgflow", _ADOPT, _ADOPT_EXAMPLES)
    adopt.add_argument("--yes", action="store_true", help="carry it out")
    adopt.add_argument("--sql", action="store_true", help="print the statements instead of words")
    adopt.add_argument(
        "--wait", type=float, metavar="SECONDS", help="how long to wait for locks on the tables; default: 10"
    )
    add_database(adopt)


def _add_compile(commands: _SubParsersAction[ArgumentParser]) -> None:
    made = command(commands, "compile", "create or verify flows in a database", _COMPILE, _COMPILE_EXAMPLES)
    add_modules(made)
    add_database(made)
    how = made.add_mutually_exclusive_group()
    how.add_argument(
        "--recompile", action="store_true", help="replace a flow whose shape differs; deletes all its runs"
    )
    how.add_argument("--check", action="store_true", help="change nothing; exit code 1 when something is not as here")


def _add_prune(commands: _SubParsersAction[ArgumentParser]) -> None:
    prune = command(commands, "prune", "delete old runs", _PRUNE, _PRUNE_EXAMPLES)
    prune.add_argument("flows", nargs="*", metavar="FLOW", help="of these flows; left out: of all")
    prune.add_argument(
        "--older-than", required=True, metavar="SPAN", help="how long ago a run must have ended: 90s, 15m, 12h, 30d"
    )
    add_database(prune)


def _add_retention(commands: _SubParsersAction[ArgumentParser]) -> None:
    retention = command(commands, "retention", "how long runs are kept", _RETENTION, _RETENTION_EXAMPLES)
    retention.add_argument("flow", nargs="?", metavar="FLOW", help="of this flow; left out: of all without a rule")
    rule = retention.add_mutually_exclusive_group()
    rule.add_argument("--keep", metavar="SPAN", help="keep runs for so long after their end: 12h, 30d")
    rule.add_argument("--forever", action="store_true", help="keep them for good")
    rule.add_argument("--as-others", action="store_true", help="take the flow's own rule away")
    add_database(retention)
