"""What a task costs the server beside a core of another language, against our own schema.

The same jobs are started, claimed and settled in batches on one connection, on databases that are visited in turns. The
foreign cores are those that the tests build (tests/core/foreign); npm's only where `PGFLOW_TEST_NPM` names its folder.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from psycopg.conninfo import make_conninfo

from benchmarks.core import Core, Noop
from benchmarks.server_cost import ServerCost, print_costs
from pgflow_mp import postgres
from pgflow_mp.connecting import connect
from pgflow_mp.core.install import install
from tests.core import foreign

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = "our own schema"


def main(rounds: int, jobs: int) -> None:
    """Measure in turns and print the mean of all rounds but the first, which is there to warm up."""
    costs: dict[str, ServerCost] = {}
    with postgres.start() as server, ExitStack() as stack:
        cores = dict(_cores(server.dsn, stack))
        for turn in range(rounds + 1):
            for name, core in cores.items():
                before = ServerCost.of(core.conn)
                core.work(Noop.definition.slug, jobs)
                cost = ServerCost.of(core.conn) - before
                if turn:
                    costs[name] = costs.get(name, ServerCost()) + cost / (rounds * jobs)
    print_costs(costs)


def _cores(dsn: str, stack: ExitStack) -> Iterator[tuple[str, Core]]:
    built = foreign.BUILT if foreign.npm_folder() is None else foreign.NAMES
    admin = stack.enter_context(connect(dsn, purpose="benchmark"))
    for name in (OWN, *built):
        database = "".join(letter if letter.isalnum() else "_" for letter in name)
        admin.execute(f'create database "{database}"'.encode())
        conn = stack.enter_context(connect(make_conninfo(dsn, dbname=database), purpose="benchmark"))
        if name != OWN:
            foreign.build(conn, name)
        install(conn)
        yield name, Core(conn, Noop)
