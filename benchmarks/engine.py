"""The whole worker: children, claims, settles, notifications.

Ratios, each against a yardstick of the same run (D-30): the rate of no-op jobs against the SQL alone, the latency of
one job on an idle system against a NOTIFY ping-pong between two connections (`latency`), CPU-bound jobs against a bare
multiprocessing.Pool that does the same work. Then what needs no yardstick: round trips, memory, idle CPU.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.core import DURABILITY, JOBS, Core
from benchmarks.flows import Burn, Echo, Noop, Sleepers, burn
from benchmarks.latency import show_latency
from benchmarks.proxy import proxy
from benchmarks.table import best_rate, row
from benchmarks.worker import PROCESSES, Statements, cpu_seconds, family, memory, serving, working
from pgflow_mp import postgres
from pgflow_mp.client import PgFlow
from pgflow_mp.connecting import connect
from pgflow_mp.core.install import install

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    import psycopg

CPU_JOBS = 40
CPU_SECONDS = 0.2
SLEEPERS = 100
LADDER = [1 << 10, 16 << 10, 128 << 10, 1 << 20, 8 << 20]
SLOW_SECONDS = 0.002
IDLE_SECONDS = 20.0


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


def latencies(app: PgFlow, count: int) -> list[float]:
    """Return the seconds from start to known result of jobs on an idle system, sorted."""
    return sorted(_timed(lambda: app.start_flow_sync("noop")) for _ in range(count))


def bare_pool() -> float:
    """Return the seconds that a bare pool takes for the CPU-bound jobs."""
    with multiprocessing.get_context("forkserver").Pool(PROCESSES) as pool:
        pool.map(burn, [0.0] * PROCESSES)
        return _timed(lambda: pool.map(burn, [CPU_SECONDS] * CPU_JOBS, chunksize=1))


def main(rounds: int) -> None:
    """Print the table."""
    with postgres.start("auto", settings=DURABILITY) as server, PgFlow(server.dsn) as app, connect(server.dsn) as conn:
        print(f"server: {server.kind} {server.version}, {PROCESSES} children")
        install(conn)
        for flow in (Noop, Burn, Echo, Sleepers):
            app.compile(flow)
        alone = best_rate(rounds, JOBS, lambda: Core(conn, Noop).work("noop", JOBS))
        row("no-op jobs, the SQL alone", alone, alone)
        show_latency(server.dsn)
        with Statements() as statements, working(server.dsn):
            app.start_flow_sync("noop")
            _throughput(app, conn, rounds, alone, statements.counts)
            _cpu(app, rounds)
            _payloads(app)
            _sleepers(app)
        _slow_link(server.dsn, app, conn)
        _footprint(server.dsn)


def _throughput(
    app: PgFlow, conn: psycopg.Connection[Any], rounds: int, alone: float, statements: Counter[str]
) -> None:
    statements.clear()
    rate = best_rate(rounds, JOBS, lambda: jobs_through(app, conn, JOBS))
    row("no-op jobs, through the worker", rate, alone, "aim 0.7")
    _round_trips(statements, JOBS * rounds)


def _round_trips(statements: Counter[str], tasks: int) -> None:
    claims, settles = statements["claim_tasks"], statements["settle_tasks"]
    other = statements.total() - claims - settles
    print(
        f"  round trips for {tasks} tasks: {claims} claims, {settles} settles, {other} others; "
        f"{statements.total() / tasks:.3f} for each task, {tasks / max(claims, 1):.1f} tasks in a claim, "
        f"{tasks / max(settles, 1):.1f} in a settle",
        flush=True,
    )


def _cpu(app: PgFlow, rounds: int) -> None:
    bare, ours = [], []
    for _ in range(rounds):  # in turns: what else the machine does meets both
        bare.append(bare_pool())
        ours.append(_timed(lambda: app.start_flow_sync("burn", [CPU_SECONDS] * CPU_JOBS)))
    print(
        f"{CPU_JOBS} jobs of {CPU_SECONDS} s CPU: {min(ours):.2f} s, bare pool {min(bare):.2f} s, "
        f"ratio {min(ours) / min(bare):.3f}   aim 1.03",
        flush=True,
    )


def _payloads(app: PgFlow) -> None:
    for size in LADDER:
        text = "x" * size
        times = max(3, min(30, (8 << 20) // size))
        seconds = min(_timed(lambda text=text: app.start_flow_sync("echo", text)) for _ in range(times))
        shown = f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB"
        print(
            f"  a payload of {shown:>7} in and out: {seconds * 1e3:8.1f} ms, {2 * size / seconds / 1e6:7.1f} MB/s",
            flush=True,
        )


def _sleepers(app: PgFlow) -> None:
    app.start_flow_sync("sleepers", [0.0])
    seconds = _timed(lambda: app.start_flow_sync("sleepers", [1.0] * SLEEPERS))
    print(f"{SLEEPERS} async steps that sleep 1 s: {seconds:.2f} s   aim 1.2", flush=True)


def _slow_link(dsn: str, app: PgFlow, conn: psycopg.Connection[Any]) -> None:
    """The same through a proxy that adds 2 ms each way: what counts is how often the worker waits for it."""
    with proxy(dsn, delay=SLOW_SECONDS) as slow, Statements() as statements, working(slow.dsn):
        app.start_flow_sync("noop")
        taken = latencies(app, 100)
        trip = 2 * SLOW_SECONDS
        print(f"with {trip * 1e3:g} ms more for each round trip of the worker:")
        print(f"  one job, start to result: median {taken[50] * 1e3:.1f} ms, {taken[50] / trip:.1f} such round trips")
        statements.counts.clear()
        seconds = _timed(lambda: jobs_through(app, conn, JOBS))
        print(f"  no-op jobs: {JOBS / seconds:,.0f}/s")
        _round_trips(statements.counts, JOBS)


def _footprint(dsn: str) -> None:
    with tempfile.TemporaryDirectory() as folder, serving(dsn, Path(folder) / "log") as worker:
        time.sleep(2)
        processes = family(worker.pid)
        for name, pids in processes.items():
            if pids:
                resident, own = memory(pids[0])
                print(f"memory of a {name}: {resident:.0f} MB resident, {own:.0f} MB of that its own share")
        pids = [pid for group in processes.values() for pid in group]
        before = cpu_seconds(pids)
        time.sleep(IDLE_SECONDS)
        share = (cpu_seconds(pids) - before) / IDLE_SECONDS
        print(f"an idle worker, all its processes: {share:.2%} of a core   aim 0.5%")


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
