"""`python -m benchmarks.soak [--minutes N]`: a worker under a steady load; memory and latency must stay flat.

Every half minute it prints the memory of the parent and of the largest child, and the latency of single jobs beside
the load. At the end the second half is compared with the first; the exit code is 1 when something grew.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.flows import Burn, Echo, Noop, Sleepers
from benchmarks.worker import family, memory, serving
from pgflow_mp import postgres
from pgflow_mp.client import PgFlow
from pgflow_mp.connecting import connect
from pgflow_mp.core.install import install

if TYPE_CHECKING:
    import psycopg

SAMPLE_SECONDS = 30.0
BATCH = 50
PAUSE_SECONDS = 0.5
MOST_GROWTH_MB = 8.0
MOST_SLOWER = 1.5
"""Of latencies in multiples of the yardstick: the machine may do other things as well."""


@dataclass(frozen=True)
class Sample:
    """Half a minute.

    Attributes:
        parent: MB that the parent holds.
        child: MB that the largest child holds.
        latency: Median seconds of a job.
        start: Median seconds of the one statement that starts a batch of jobs: what the machine can do just now.
        jobs: Completed so far.
    """

    parent: float
    child: float
    latency: float
    start: float
    jobs: int


def main() -> int:
    """Soak, print the trend, and judge it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    with (
        postgres.start("auto") as server,
        PgFlow(server.dsn) as app,
        connect(server.dsn) as conn,
        tempfile.TemporaryDirectory() as folder,
    ):
        install(conn)
        for flow in (Noop, Burn, Echo, Sleepers):
            app.compile(flow)
        with serving(server.dsn, Path(folder) / "log") as worker:
            app.start_flow_sync("noop")
            samples = _soak(app, conn, worker.pid, options.minutes * 60)
    return _judge(samples)


def _soak(app: PgFlow, conn: psycopg.Connection[object], pid: int, seconds: float) -> list[Sample]:
    samples: list[Sample] = []
    until = time.monotonic() + seconds
    print("  minutes    jobs   parent MB   child MB   latency ms   in starts of a batch")
    while time.monotonic() < until:
        samples.append(_sample(app, conn, pid))
        last = samples[-1]
        print(
            f"{len(samples) * SAMPLE_SECONDS / 60:9.1f} {last.jobs:7,} {last.parent:11.1f} {last.child:10.1f} "
            f"{last.latency * 1e3:12.1f} {last.latency / last.start:22.1f}",
            flush=True,
        )
    return samples


def _sample(app: PgFlow, conn: psycopg.Connection[object], pid: int) -> Sample:
    until = time.monotonic() + SAMPLE_SECONDS
    taken, starts = [], []
    while time.monotonic() < until:
        began = time.perf_counter()
        app.start_flows("noop", [{}] * BATCH)
        starts.append(time.perf_counter() - began)
        app.start_flows("echo", ["x" * 10_000] * (BATCH // 5))
        began = time.perf_counter()
        app.start_flow_sync("noop")
        taken.append(time.perf_counter() - began)
        time.sleep(PAUSE_SECONDS)
    processes = family(pid)
    children = [memory(child)[0] for child in processes["child"]]
    (jobs,) = conn.execute("select count(*) from pgflow.runs where status = 'completed'").fetchone() or (0,)
    assert isinstance(jobs, int)
    # Old runs go, as an operator's would: the server's growth is not the worker's.
    conn.execute("select pgflow.prune_data_older_than(interval '1 hour', null)")
    return Sample(memory(pid)[0], max(children, default=0.0), statistics.median(taken), statistics.median(starts), jobs)


def _judge(samples: list[Sample]) -> int:
    """Compare the second half with the first, less the first sample, in which caches fill."""
    settled = samples[1:]
    if len(settled) < 2:
        print("too short to tell a trend")
        return 0
    early, late = settled[: len(settled) // 2], settled[len(settled) // 2 :]
    grown = 0
    for name, limit in (("parent", MOST_GROWTH_MB), ("child", MOST_GROWTH_MB)):
        change = statistics.mean(getattr(s, name) for s in late) - statistics.mean(getattr(s, name) for s in early)
        grown += change > limit
        print(f"{name}: {change:+.1f} MB from the first half to the second (at most {limit:g})")
    slower = statistics.median(s.latency / s.start for s in late) / statistics.median(
        s.latency / s.start for s in early
    )
    print(f"latency, in starts of a batch: {slower:.2f} of the first half (at most {MOST_SLOWER:g})")
    return 1 if grown or slower > MOST_SLOWER else 0


if __name__ == "__main__":
    sys.exit(main())
