"""A worker of very many flows: what they cost while they have no work, and what a task costs among them.

Each flow was made at run time (`upsert_flow`) and has three steps. One line for each number of flows: milliseconds to
make a flow, and until a worker has taken them all up; of a look into all queues that finds nothing, of
asking which queues have messages, as a worker does of more than a few flows, of a look at whether any flow has changed,
and of a heartbeat, each one statement; milliseconds from the start of a run to its result on an otherwise idle system,
median; and tasks a second of a thousand runs, spread over all flows.
"""

from __future__ import annotations

import statistics
import time
import uuid
from typing import TYPE_CHECKING, Any

from psycopg.conninfo import make_conninfo

from benchmarks.core import DURABILITY
from benchmarks.table import seconds
from benchmarks.worker import PROCESSES
from pgflow_mp import PgFlow, handles, postgres
from pgflow_mp.connecting import connect
from pgflow_mp.core.install import install
from pgflow_mp.core.queries.dynamic import Listing, list_dynamic_flows
from pgflow_mp.core.queries.queues import stirred_flows
from pgflow_mp.core.queries.tasks import claim_tasks
from pgflow_mp.core.queries.workers import heartbeat
from pgflow_mp.core.statement import execute

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

STEPS = [{"slug": "first"}, {"slug": "second", "deps": ["first"]}, {"slug": "third", "deps": ["second"]}]
HANDLERS = ("first", "second", "third")
LOOKS = 20
COLUMNS = ("flows", "make", "take up", "look", "ask", "changed?", "beat", "result", "tasks")
RUNS = 1000


@handles("work")
def work(ctx: Any, **_: Any) -> str:
    """Do nothing."""
    return ctx.step_slug


def main(sizes: list[int]) -> None:
    """Print a line for each number of flows."""
    print("".join(f"{name:>10}" for name in COLUMNS))
    with postgres.start("auto", settings=DURABILITY) as server:
        for size in sizes:
            dsn = make_conninfo(server.dsn, dbname=f"tenants_{size}")
            with connect(server.dsn) as conn:
                conn.execute(f"create database tenants_{size}".encode())
            install(dsn)
            measure(dsn, size)


def measure(dsn: str, size: int) -> None:
    """Print the line of so many flows."""
    slugs = [f"tenant_{number}" for number in range(size)]
    with PgFlow(dsn, handlers=dict.fromkeys(HANDLERS, work)) as app, connect(dsn) as conn:
        making = seconds(lambda: [app.upsert_flow(slug, STEPS) for slug in slugs]) / size
        conn.execute("vacuum analyze")
        began = time.perf_counter()
        with app.start_worker(processes=PROCESSES):
            taking_up = time.perf_counter() - began
            app.start_flow_sync(slugs[0])
            look, ask, changed, beat = looks(conn, slugs)
            latency = statistics.median(seconds(lambda: app.start_flow_sync(slugs[-1])) for _ in range(LOOKS))
            rate = 3 * RUNS / seconds(lambda: work_off(app, conn, slugs))
    times = [f"{each * 1000:.2f}ms" for each in (making, taking_up, look, ask, changed, beat, latency)]
    print("".join(f"{cell:>10}" for cell in (size, *times, f"{rate:.0f}/s")), flush=True)


def looks(conn: psycopg.Connection[Any], slugs: list[str]) -> tuple[float, float, float, float]:
    """Return the seconds of an empty look into all queues, of asking, of a look for changes, and of a heartbeat."""
    workers = [row[0] for row in conn.execute("select worker_id from pgflow.workers order by queue_name").fetchall()]
    ids = [uuid.uuid4()] * len(slugs)
    found = execute(conn, stirred_flows(slugs, [-1] * len(slugs)))
    marks = [found[slug] or 0 for slug in slugs]
    known = execute(conn, list_dynamic_flows(Listing()))
    return (
        best(lambda: execute(conn, claim_tasks(slugs, ids, [PROCESSES] * len(slugs)))),
        best(lambda: execute(conn, stirred_flows(slugs, marks))),
        best(lambda: execute(conn, list_dynamic_flows(known))),
        best(lambda: execute(conn, heartbeat(workers))),
    )


def best(work: Callable[[], object]) -> float:
    """Return the median seconds of several times."""
    return statistics.median(seconds(work) for _ in range(LOOKS))


def work_off(app: PgFlow, conn: psycopg.Connection[Any], slugs: list[str]) -> None:
    """Start runs in all flows, in turn, and wait until they have ended."""
    for start in range(0, RUNS, len(slugs)):
        for slug in slugs[: RUNS - start]:
            app.start_flow(slug)
    open_runs = "select count(*) from pgflow.runs where status = 'started'"
    while conn.execute(open_runs).fetchone() != (0,):
        time.sleep(0.02)
