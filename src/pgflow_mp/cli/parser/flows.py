"""Commands about flows and those who work on them: flows, graph, workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.cli.parser.options import add_database, command

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

_FLOWS = """\
List the flows of the database with the number of their live workers and their latest run; or describe one flow: its
steps, what they wait for, their options.
"""

_FLOWS_EXAMPLES = """\
  pgflow-mp flows                                         all flows
  pgflow-mp flows process_order                           one flow with its steps
  pgflow-mp flows --slugs                                 their slugs, one a line
  pgflow-mp flows --json | jq '.[] | select(.live_workers == 0) | .slug'
"""

_GRAPH = """\
Draw the steps of a flow and what they wait for: as Mermaid text, which Markdown renderers draw, or as an SVG picture.
The flow is one of the database, by its slug, or of your code, as a TARGET (flows.py, app.flows:ProcessOrder).
"""

_GRAPH_EXAMPLES = """\
  pgflow-mp graph process_order                           Mermaid text of a flow of the database
  pgflow-mp graph app.flows:ProcessOrder                  of a flow in code; no database is needed
  pgflow-mp graph process_order -o order.svg              an SVG picture, as the file's name says
  pgflow-mp graph --run RUN_ID -o run.svg                 a run: each step in the colour of its state
"""

_WORKERS = """\
List the workers of all languages: where each runs, what it serves, how many tasks it has in hand and when it was last
heard of. States: live (heard of within 30 s), stale (60 s), dead, finishing (asked to) and, with --all, stopped.
"""

_WORKERS_EXAMPLES = """\
  pgflow-mp workers                                       those that have not stopped
  pgflow-mp workers process_order --all                   all that ever served a flow and are still in the table
"""


def add(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Add the commands."""
    flows = command(commands, "flows", "list flows, or describe one", _FLOWS, _FLOWS_EXAMPLES)
    flows.add_argument("flow", nargs="?", metavar="FLOW", help="the flow's slug; left out: all flows")
    flows.add_argument("--slugs", action="store_true", help="print the slugs of all flows and nothing else")
    add_database(flows)

    graph = command(commands, "graph", "draw a flow as Mermaid or SVG", _GRAPH, _GRAPH_EXAMPLES)
    graph.add_argument("flow", nargs="?", metavar="FLOW", help="a slug, or a TARGET (with a dot, slash or colon in it)")
    graph.add_argument("--run", metavar="RUN_ID", help="draw this run's flow, each step in the colour of its state")
    graph.add_argument("--format", choices=("mermaid", "svg"), help="default: svg for a file named so, else mermaid")
    graph.add_argument("-o", "--output", metavar="FILE", help="write to this file; default: stdout")
    add_database(graph)

    workers = command(commands, "workers", "list workers", _WORKERS, _WORKERS_EXAMPLES)
    workers.add_argument("flow", nargs="?", metavar="FLOW", help="those of this flow; left out: of all flows")
    workers.add_argument("--all", action="store_true", help="those that have stopped as well")
    add_database(workers)
