"""The whole worker: children, claims, settles, notifications.

Three ratios, each against a yardstick of the same run (D-30): the rate of no-op jobs against the SQL alone, the
latency of one job on an idle system against a NOTIFY ping-pong between two connections, and the time of CPU-bound
jobs against a bare multiprocessing.Pool that does the same work.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.core import DURABILITY, JOBS, Core
from benchmarks.flows import Burn, Noop, burn
from benchmarks.table import best_rate, row
from pgflow_mp import postgres
from pgflow_mp.client import PgFlow
from pgflow_mp.connecting import connect
from pgflow_mp.core.install import install
from pgflow_mp.engine.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

PROCESSES = 2
CPU_JOBS = 40
CPU_SECONDS = 0.2
PINGS = 100


@contextmanager
def working(dsn: str) -> Iterator[None]:
    """Run a worker in a thread of its own while the block lasts."""
    box: dict[str, Any] = {}
    ready = threading.Event()

    async def main() -> None:
        box["worker"] = Worker(dsn, [Noop.definition, Burn.definition], processes=PROCESSES)
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


def jobs_through(app: PgFlow, conn: psycopg.Connection[Any], jobs: int) -> None:
    """Start jobs and wait until all are completed."""
    before = _completed(conn)
    for _ in range(0, jobs, 100):
        app.start_flows("noop", [{}] * 100)
    while _completed(conn) < before + jobs:
        time.sleep(0.005)


def _completed(conn: psycopg.Connection[Any]) -> int:
    found = conn.execute("select count(*) from pgflow.runs where status = 'completed'").fetchone()
    return found[0] if found else 0


def ping_pong(dsn: str) -> float:
    """Return the median seconds of one NOTIFY, its commit, and its arrival at another connection."""
    with connect(dsn) as ear, connect(dsn) as mouth:
        ear.execute("LISTEN ping")
        taken = []
        for _ in range(PINGS):
            started = time.perf_counter()
            mouth.execute("NOTIFY ping")
            list(ear.notifies(timeout=5, stop_after=1))
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def latencies(app: PgFlow) -> list[float]:
    """Return the seconds from start to known result of jobs on an idle system, sorted."""
    taken = []
    for _ in range(PINGS):
        started = time.perf_counter()
        app.start_flow_sync("noop")
        taken.append(time.perf_counter() - started)
    return sorted(taken)


def bare_pool() -> float:
    """Return the seconds that a bare pool takes for the CPU-bound jobs."""
    with multiprocessing.get_context("forkserver").Pool(PROCESSES) as pool:
        pool.map(burn, [0.0] * PROCESSES)
        started = time.perf_counter()
        pool.map(burn, [CPU_SECONDS] * CPU_JOBS, chunksize=1)
        return time.perf_counter() - started


def main(rounds: int) -> None:
    """Print the table."""
    with postgres.start("auto", settings=DURABILITY) as server, PgFlow(server.dsn) as app, connect(server.dsn) as conn:
        print(f"server: {server.kind} {server.version}, {PROCESSES} children")
        install(conn)
        app.compile(Burn)
        core = Core(conn, Noop)
        alone = best_rate(rounds, JOBS, lambda: core.work("noop", JOBS))
        row("no-op jobs, the SQL alone", alone, alone)
        ping = ping_pong(server.dsn)
        with working(server.dsn):
            app.start_flow_sync("noop")
            row(
                "no-op jobs, through the worker",
                best_rate(rounds, JOBS, lambda: jobs_through(app, conn, JOBS)),
                alone,
                "aim 0.7",
            )
            taken = latencies(app)
            print(
                f"one job, start to result: median {taken[PINGS // 2] * 1e3:.1f} ms, p99 {taken[-2] * 1e3:.1f} ms; "
                f"median is {taken[PINGS // 2] / ping:.1f} NOTIFY ping-pongs of {ping * 1e3:.2f} ms   aim 6"
            )
            ours = min(_timed(lambda: app.start_flow_sync("burn", [CPU_SECONDS] * CPU_JOBS)) for _ in range(rounds))
        bare = min(bare_pool() for _ in range(rounds))
        print(
            f"{CPU_JOBS} jobs of {CPU_SECONDS} s CPU: {ours:.2f} s, bare pool {bare:.2f} s, ratio {ours / bare:.3f}   aim 1.03"
        )


def _timed(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
