"""From the start of one job to its known result, on an idle system, and what that is made of.

Measured in turns with three yardsticks on the same server, so that what else the machine does meets all of them:

- a NOTIFY ping-pong: a notification, its commit, and its arrival at another connection;
- the same with a row written, as every step of a job does: its commit waits for the disk;
- the SQL alone: start, claim and settle of one job, each on a connection of its own that has its plans, without a
  worker, children, notifications to wait for, or a result to read.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.core import Core
from benchmarks.worker import serving
from pgflow_mp import Flow, step
from pgflow_mp.client import PgFlow
from pgflow_mp.connecting import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIMES = 400
WARM_UP = 30


class Alone(Flow):
    """A single-step job that no worker of a benchmark serves."""

    @step
    def only(): ...


def show_latency(dsn: str) -> None:
    """Measure and print; the worker is a process of its own, as in production."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(dsn, Path(folder) / "log"),
        PgFlow(dsn) as app,
        ping_pong(dsn, "select") as ping,
        ping_pong(dsn, "insert into written default values") as durable_ping,
        sql_alone(dsn) as alone,
    ):
        taken = in_turns(
            {
                "one job, start to result": lambda: app.start_flow_sync("noop"),
                "NOTIFY ping-pong": ping,
                "one that writes a row": durable_ping,
                "SQL of one job alone": alone,
            }
        )
    job = taken.pop("one job, start to result")
    print(f"one job, start to result: {_shown(job)}   aim 5 ms, 15 ms", flush=True)
    for name, yardstick in taken.items():
        aim = "   aim 6" if name == "NOTIFY ping-pong" else ""
        ratio = statistics.median(job) / statistics.median(yardstick)
        print(f"  {ratio:6.1f} times the {name}: {_shown(yardstick)}{aim}", flush=True)


def in_turns(work: dict[str, Callable[[], object]], times: int = TIMES) -> dict[str, list[float]]:
    """Do everything so many times, in turn; return the seconds of each, sorted."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(WARM_UP + times):
        for name, each in work.items():
            began = time.perf_counter()
            each()
            if turn >= WARM_UP:
                taken[name].append(time.perf_counter() - began)
    return {name: sorted(found) for name, found in taken.items()}


@contextmanager
def ping_pong(dsn: str, statement: str) -> Iterator[Callable[[], None]]:
    """Give a function that has a notification come over from a transaction with this statement."""
    with connect(dsn) as ear, connect(dsn) as mouth:
        mouth.execute("create table if not exists written (id bigint generated always as identity)")
        ear.execute("LISTEN ping")

        def play() -> None:
            mouth.execute(f"{statement}; NOTIFY ping")
            list(ear.notifies(timeout=5, stop_after=1))

        yield play


@contextmanager
def sql_alone(dsn: str) -> Iterator[Callable[[], None]]:
    """Give a function that starts, claims and settles one job of a flow that no worker serves."""
    with connect(dsn) as first, connect(dsn) as second, connect(dsn) as third:
        starting, claiming, settling = Core(first, Alone), Core(second), Core(third)
        worker_id = starting.worker_ids["alone"]

        def play() -> None:
            starting.start("alone", 1)
            settling.settle(claiming.claim("alone", worker_id, 1), worker_id)

        yield play


def _shown(taken: list[float]) -> str:
    return f"median {statistics.median(taken) * 1e3:.2f} ms, p99 {taken[len(taken) * 99 // 100] * 1e3:.2f} ms"
