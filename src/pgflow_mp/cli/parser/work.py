"""Commands that make work or do it: run, start, enqueue, serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.cli.parser.options import (
    add_database,
    add_input,
    add_modules,
    add_once,
    add_plugins,
    add_processes,
    address,
    command,
    count,
    positive_seconds,
    seconds,
)

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

_RUN = """\
Start one run of a flow, work it off in child processes on all cores, and print its output as JSON on stdout.
Progress goes to stderr. Only tasks of this run are taken, whatever else waits in the database.

Without a DSN the run happens in your own embedded development database, which is started when needed, kept
between runs, and follows your code: a flow whose shape changed is compiled anew there, which deletes its
earlier runs.
"""

_RUN_EXAMPLES = """\
  pgflow-mp run flows.py                                  the only flow of the file, input {}
  pgflow-mp run app.flows:ProcessOrder '{"order_id": 1}'  a flow of a module, by class name or slug
  pgflow-mp run app.flows:process_order @order.json       input from a file
  echo '{"order_id": 1}' | pgflow-mp run flows.py -       input from stdin
  pgflow-mp run flows.py --json                           the whole run, with its steps and tasks
"""

_START = """\
Start one run of a flow that is in the database, and print its id. The workers that serve the flow take it from
there; with --wait this command stays, shows progress on stderr, and prints the run's output when it has completed.
"""

_START_EXAMPLES = """\
  pgflow-mp start process_order '{"order_id": 1}'         prints the run's id
  pgflow-mp start process_order @order.json --wait        prints the run's output, or why it failed (exit code 1)
  pgflow-mp start process_order --lines - < orders.jsonl  a run for each line of stdin, all or none
  pgflow-mp start process_order @order.json --key o-1     once, however often it is called
"""

_ENQUEUE = """\
Start a run that begins later: it is stored at once, and no worker can take it before its time. Without --in and --at it
begins now. For jobs, and for any other flow, whose first steps then begin later.
"""

_ENQUEUE_EXAMPLES = """\
  pgflow-mp enqueue send_mail '{"to": "ada@example.org"}' --in 15m
  pgflow-mp enqueue send_mail @mail.json --at 2026-12-24T18:00+01:00
  pgflow-mp enqueue send_mail --lines - < mails.jsonl     a run for each line of stdin, all or none
"""

_SERVE = """\
Run a worker for all flows of the modules: it compiles or verifies them, then takes their tasks and runs them
in child processes until it is stopped. Ctrl-C or SIGTERM drains: nothing more is claimed, running tasks get
--grace seconds to finish, what remains is given back. A second signal gives it back at once. SIGHUP loads the
code again, in fresh children; no task is lost.
"""

_SERVE_EXAMPLES = """\
  pgflow-mp serve app.flows --processes 4                 all flows of a module, four tasks at a time
  pgflow-mp serve app.flows:ProcessOrder reports.py       one flow of a module, and those of a file
  pgflow-mp serve --handlers app.handlers                 flows that are made at run time (upsert_flow)
"""


def add(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Add the commands."""
    _add_run(commands)
    _add_start(commands)
    _add_enqueue(commands)
    _add_serve(commands)


def _add_run(commands: _SubParsersAction[ArgumentParser]) -> None:
    run = command(
        commands, "run", "run a flow once and print its output", _RUN, _RUN_EXAMPLES,
        json="print the whole run with its steps, whether it failed or not; docs/cli.md lists the keys",
    )  # fmt: skip
    run.add_argument("target", metavar="TARGET[:Flow]", help="a module (app.flows) or a file (flows.py)")
    add_input(run)
    add_database(run, default="PGFLOW_DSN, else your development database")
    add_processes(run)
    add_plugins(run)
    run.add_argument("-v", "--verbose", action="store_true", help="show log records from INFO up, not only warnings")
    run.add_argument(
        "--timeout", type=seconds, metavar="S", help="stop working after this many seconds (exit code 124)"
    )


def _add_start(commands: _SubParsersAction[ArgumentParser]) -> None:
    start = command(commands, "start", "start a run for the workers of a flow", _START, _START_EXAMPLES)
    start.add_argument("flow", metavar="FLOW", help="the flow's slug")
    add_input(start)
    add_database(start)
    how = start.add_mutually_exclusive_group()
    how.add_argument("--wait", action="store_true", help="wait until the run has ended, and print its output")
    how.add_argument("--lines", action="store_true", help="INPUT is JSON lines: one run for each line, all or none")
    add_once(start)
    start.add_argument(
        "--timeout", type=positive_seconds, metavar="S",
        help="with --wait: leave after this many seconds (exit code 124); the run goes on",
    )  # fmt: skip


def _add_enqueue(commands: _SubParsersAction[ArgumentParser]) -> None:
    enqueue = command(commands, "enqueue", "start a run that begins later", _ENQUEUE, _ENQUEUE_EXAMPLES)
    enqueue.add_argument("flow", metavar="JOB", help="the slug of the job or flow")
    add_input(enqueue)
    when = enqueue.add_mutually_exclusive_group()
    when.add_argument("--in", dest="delay", metavar="SPAN", help="begin so long from now: 90s, 15m, 2h, 3d")
    when.add_argument("--at", metavar="TIME", help="begin then: 2026-12-24T18:00, with a zone or on your clock")
    add_once(enqueue)
    enqueue.add_argument("--lines", action="store_true", help="INPUT is JSON lines: one run for each line, all or none")
    add_database(enqueue)


def _add_serve(commands: _SubParsersAction[ArgumentParser]) -> None:
    serve = command(
        commands, "serve", "run a worker for flows until stopped", _SERVE, _SERVE_EXAMPLES,
        json="log as JSON lines: one object a record; docs/cli.md lists the keys",
    )  # fmt: skip
    add_modules(serve, needed=False)
    serve.add_argument(
        "--handlers", action="append", default=[], metavar="MODULE",
        help="serve flows that are made at run time too, with the handlers of this module; may be repeated",
    )  # fmt: skip
    add_database(serve)
    add_processes(serve)
    add_plugins(serve)
    serve.add_argument(
        "--loops", type=count, metavar="N", help="child processes with an event loop, for async steps; default: 1"
    )
    serve.add_argument(
        "--tasks-per-loop", type=count, metavar="N", help="async tasks that each of them runs at a time; default: 100"
    )
    serve.add_argument(
        "--threads", type=count, metavar="N",
        help="threads for steps with executor=\"thread\"; default: a few more than there are cores",
    )  # fmt: skip
    serve.add_argument(
        "--grace", type=seconds, default=25.0, metavar="S",
        help="seconds that running tasks get to finish when stopped; default: 25",
    )  # fmt: skip
    serve.add_argument(
        "--poll-interval", type=positive_seconds, default=1.0, metavar="S",
        help="seconds between looks for work that no notification announced; default: 1",
    )  # fmt: skip
    serve.add_argument(
        "--listen-dsn", metavar="DSN",
        help="where to listen for notifications, past a pooler in transaction mode; default: the same DSN",
    )  # fmt: skip
    serve.add_argument(
        "--task-dsn", metavar="DSN",
        help="what handlers connect to that ask for a connection (ctx.connection()); default: the same DSN",
    )  # fmt: skip
    serve.add_argument(
        "--http", type=address, metavar="HOST:PORT",
        help="answer /healthz, /readyz, /status and /metrics there; PORT alone: on loopback; default: off",
    )  # fmt: skip
    serve.add_argument(
        "--unknown-step-timeout", type=positive_seconds, metavar="S",
        help="seconds after which a task fails whose step no worker knows; default: 600",
    )  # fmt: skip
    serve.add_argument(
        "--max-payload", type=count, metavar="MB", help="JSON that a step gets or returns at most; default: 64"
    )
    serve.add_argument(
        "--max-tasks-per-child", type=count, metavar="N", help="replace a child process after so many tasks"
    )
    serve.add_argument(
        "--max-memory-per-child",
        type=count,
        metavar="MB",
        help="replace a child process that holds more than so many MB",
    )
