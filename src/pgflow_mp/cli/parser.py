"""What can be typed: the argparse tree with its help. Names only the command modules, imports none."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pgflow_mp import __version__

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction
    from collections.abc import Sequence

_LAST_PORT = 65535

_ABOUT = "pgflow workflows from Python: Postgres keeps the state, steps run in processes of their own."

_EXAMPLES = """\
examples:
  pgflow-mp run flows.py '{"order_id": 123}'     run one flow; no DSN needed, an embedded Postgres is used
  pgflow-mp install --dsn DSN                    make a database ready, once
  pgflow-mp compile app.flows --dsn DSN          create or verify the flows of a module
  pgflow-mp serve app.flows --dsn DSN            work off all runs of these flows until stopped

exit codes:
  0 done   1 the run failed, or the database refused   2 usage or bad input   3 the database cannot be used
  124 not done within --timeout   130 interrupted   70 a defect of pgflow-mp
"""

_RUN = """\
Start one run of a flow, work it off in child processes on all cores, and print its output as JSON on stdout.
Progress goes to stderr. Only tasks of this run are taken, whatever else waits in the database.

Without a DSN the run happens in your own embedded development database, which is started when needed, kept
between runs, and follows your code: a flow whose shape changed is compiled anew there, which deletes its
earlier runs.
"""

_RUN_EXAMPLES = """\
examples:
  pgflow-mp run flows.py                                  the only flow of the file, input {}
  pgflow-mp run app.flows:ProcessOrder '{"order_id": 1}'  a flow of a module, by class name or slug
  pgflow-mp run app.flows:process_order @order.json       input from a file
  echo '[1, 2, 3]' | pgflow-mp run flows.py -             input from stdin
"""

_COMPILE = """\
Create the flows of the modules in the database, or verify that they are there in the same shape. All in one
transaction: if one flow differs, its differences are listed and nothing is changed; with --recompile it is
deleted with all its runs and made anew. Changed options (attempts, delays, timeouts) are no change of shape;
they are updated.
"""

_SERVE = """\
Run a worker for all flows of the modules: it compiles or verifies them, then takes their tasks and runs them
in child processes until it is stopped. Ctrl-C or SIGTERM drains: nothing more is claimed, running tasks get
--grace seconds to finish, what remains is given back. A second signal gives it back at once. SIGHUP loads the
code again, in fresh children; no task is lost.
"""

_INSTALL = """\
Make a database ready for pgflow: pgmq, schema pgflow and schema pgflow_mp, in one transaction. Harmless to
repeat: what is already there is left as it is.
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments; the process ends with a usage error, or with the help, where argparse ends it.

    argparse gives an optional positional its default as soon as it meets an option, and then does not know the one
    that follows: ``run flows.py --processes 2 '{}'``. It is the input all the same.
    """
    parser = make()
    arguments, rest = parser.parse_known_args(argv)
    if arguments.module == "run" and arguments.input is None:
        given = len(rest) == 1 and (rest == ["-"] or not rest[0].startswith("-"))
        arguments.input, rest = (rest[0], []) if given else ("{}", rest)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return arguments


def make() -> ArgumentParser:
    """The whole parser."""
    parser = argparse.ArgumentParser(
        "pgflow-mp",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pgflow-mp {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_compile(commands)
    _add_serve(commands)
    _add_install(commands)
    return parser


def _add_run(commands: _SubParsersAction[ArgumentParser]) -> None:
    run = _command(commands, "run", "run a flow once and print its output", _RUN, _RUN_EXAMPLES)
    run.add_argument("target", metavar="TARGET[:Flow]", help="a module (app.flows) or a file (flows.py)")
    run.add_argument("input", nargs="?", help="JSON, @file, or - for stdin; default: {}")
    _add_dsn(run, "default: PGFLOW_DSN, else the embedded development database")
    _add_processes(run)
    run.add_argument("-v", "--verbose", action="store_true", help="show log records from INFO up, not only warnings")
    run.add_argument(
        "--timeout", type=_seconds, metavar="S", help="stop working after this many seconds (exit code 124)"
    )


def _add_compile(commands: _SubParsersAction[ArgumentParser]) -> None:
    command = _command(commands, "compile", "create or verify flows in a database", _COMPILE)
    _add_modules(command)
    _add_dsn(command)
    command.add_argument(
        "--recompile", action="store_true", help="replace a flow whose shape differs; deletes all its runs"
    )


def _add_serve(commands: _SubParsersAction[ArgumentParser]) -> None:
    serve = _command(commands, "serve", "run a worker for flows until stopped", _SERVE)
    _add_modules(serve)
    _add_dsn(serve)
    _add_processes(serve)
    serve.add_argument(
        "--grace", type=_seconds, default=25.0, metavar="S",
        help="seconds that running tasks get to finish when stopped; default: 25",
    )  # fmt: skip
    serve.add_argument(
        "--poll-interval", type=_positive_seconds, default=1.0, metavar="S",
        help="seconds between looks for work that no notification announced; default: 1",
    )  # fmt: skip
    serve.add_argument(
        "--listen-dsn", metavar="DSN",
        help="where to listen for notifications, past a pooler in transaction mode; default: the same DSN",
    )  # fmt: skip
    serve.add_argument(
        "--http", type=_address, metavar="HOST:PORT",
        help="answer /healthz, /readyz, /status and /metrics there; PORT alone: on loopback; default: off",
    )  # fmt: skip
    serve.add_argument(
        "--max-tasks-per-child", type=_count, metavar="N", help="replace a child process after so many tasks"
    )
    serve.add_argument(
        "--max-memory-per-child",
        type=_count,
        metavar="MB",
        help="replace a child process that holds more than so many MB",
    )


def _add_install(commands: _SubParsersAction[ArgumentParser]) -> None:
    command = _command(commands, "install", "make a database ready for pgflow", _INSTALL)
    _add_dsn(command)
    for kind, may in (("worker", "work off flows"), ("client", "start and read runs")):
        command.add_argument(
            f"--{kind}-role", action="append", default=[], metavar="ROLE", help=f"let this role {may}; repeatable"
        )


def _command(
    commands: _SubParsersAction[ArgumentParser],
    name: str,
    summary: str,
    about: str,
    examples: str | None = None,
) -> ArgumentParser:
    command = commands.add_parser(
        name,
        help=summary,
        description=about,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(module=name)
    command.add_argument(
        "--traceback", action="store_true", help="show the Python stack of an error (also: PGFLOW_DEBUG=1)"
    )
    return command


def _add_modules(command: ArgumentParser) -> None:
    command.add_argument(
        "modules",
        nargs="+",
        metavar="MODULE",
        help="a module (app.flows) or a file (flows.py); MODULE:Flow for one flow",
    )


def _add_dsn(command: ArgumentParser, default: str = "default: PGFLOW_DSN") -> None:
    command.add_argument("--dsn", help=f"the database, as postgresql://... or key=value words; {default}")


def _add_processes(command: ArgumentParser) -> None:
    command.add_argument("--processes", type=_count, metavar="N", help="child processes; default: one for each core")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no address: write HOST:PORT or PORT, as in 127.0.0.1:8080")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _positive_seconds(text: str) -> float:
    if (seconds := _seconds(text)) == 0:
        raise argparse.ArgumentTypeError("must be more than 0 seconds")
    return seconds
