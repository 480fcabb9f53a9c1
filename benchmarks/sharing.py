"""`python -m benchmarks.sharing [--rounds N]`: what flows, steps, and tasks in one event loop cost each other.

Ratios of one run (D-30): 50 short tasks beside another flow's queue of 5,000 against the same 50 alone; the half of a
flow that stands in its queue behind a saturated step against the same tasks in a flow of their own; and 100 async
tasks that wait a second in one event loop against one second.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.core import DURABILITY
from benchmarks.flows import Few, Many, Naps, Saturated
from benchmarks.table import seconds
from pgflow_mp import postgres
from pgflow_mp.client import PgFlow
from pgflow_mp.core.install import install
from pgflow_mp.engine.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESSES = 2
BACKLOG = 5000
TASKS = 50
HALF = 1000
LOOP_TASKS = 100
PATIENCE = 120.0
FLOWS = (Many, Few, Saturated, Naps)


@contextmanager
def working(dsn: str) -> Iterator[None]:
    """Run a worker in a thread of its own while the block lasts."""
    box: dict[str, Any] = {}
    ready = threading.Event()

    async def main() -> None:
        box["worker"] = Worker(dsn, [flow.definition for flow in FLOWS], processes=PROCESSES)
        box["loop"] = asyncio.get_running_loop()
        ready.set()
        await box["worker"].run()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        box["loop"].call_soon_threadsafe(box["worker"].stop)
        thread.join()


def alone(app: PgFlow, tasks: int) -> float:
    """Return the seconds of so many short tasks with nothing beside them."""
    return seconds(lambda: app.start_flow_sync(Few, list(range(tasks)), timeout=PATIENCE))


def beside(app: PgFlow) -> float:
    """Return the seconds of the few tasks while the many are worked off, and wait until these are done."""
    many = app.start_flow(Many, list(range(BACKLOG)))
    time.sleep(0.5)  # they are under way
    taken = alone(app, TASKS)
    if app.get_run(many).ended:
        raise RuntimeError("the long queue was worked off too early to tell anything")
    _wait(lambda: app.get_run(many).ended)
    return taken


def behind(app: PgFlow) -> float:
    """Return the seconds until the tasks behind a saturated step are done."""
    started = time.perf_counter()
    run_id = app.start_flow(Saturated, list(range(HALF)))
    _wait(lambda: app.get_run_with_states(run_id).steps["behind"].completed)
    taken = time.perf_counter() - started
    _wait(lambda: app.get_run(run_id).ended)
    return taken


def _wait(met: Any) -> None:
    until = time.monotonic() + PATIENCE
    while not met():
        if time.monotonic() > until:
            raise TimeoutError("the worker does not get on")
        time.sleep(0.01)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sharing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="repetitions; the best of each is printed")
    rounds = parser.parse_args().rounds
    with postgres.start("auto", settings=DURABILITY) as server, PgFlow(server.dsn) as app:
        print(f"server: {server.kind} {server.version}, {PROCESSES} children, 1 event loop")
        install(server.dsn)
        for flow in FLOWS:
            app.compile(flow)
        with working(server.dsn):
            alone(app, TASKS)
            least = min(alone(app, TASKS) for _ in range(rounds))
            shared = min(beside(app) for _ in range(rounds))
            _row(f"{TASKS} tasks beside a queue of {BACKLOG}", shared, least, "alone; a fair half would be 2")
            half = min(alone(app, HALF) for _ in range(rounds))
            _row(
                f"{HALF} tasks behind {HALF} of a saturated step",
                min(behind(app) for _ in range(rounds)),
                half,
                "alone",
            )
            app.start_flow_sync(Naps, [0], timeout=PATIENCE)
            naps = min(
                seconds(lambda: app.start_flow_sync(Naps, [1] * LOOP_TASKS, timeout=PATIENCE)) for _ in range(rounds)
            )
            _row(f"{LOOP_TASKS} async tasks that wait a second", naps, 1.0, "one of them; aim 1.2")


def _row(what: str, taken: float, yardstick: float, of_what: str) -> None:
    print(f"{what:<44} {taken:>7.3f} s   {taken / yardstick:>6.2f} of {of_what}", flush=True)


if __name__ == "__main__":
    main()
