"""The SQL alone: start, claim, settle in batches on one connection, against raw pgmq on the same server.

The yardstick is send_batch + read + archive of 100 messages: what the queue itself costs. A workflow engine on
top of it keeps runs, steps and tasks as well; the ratio says how much of the queue's speed is left.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from benchmarks.table import best_rate, row
from pgflow_mp import Flow, map_step, postgres, step
from pgflow_mp.connecting import connect
from pgflow_mp.core.install import install
from pgflow_mp.core.queries.definitions import compile_flow
from pgflow_mp.core.queries.runs import start_flows
from pgflow_mp.core.queries.tasks import Settlement, claim_tasks, settle_tasks
from pgflow_mp.core.queries.workers import register_workers
from pgflow_mp.core.statement import execute
from pgflow_mp.engine.host import this_process
from pgflow_mp.ids import new_id

if TYPE_CHECKING:
    import psycopg

BATCH = 100

# What a server has by default and a throw-away one has not.
DURABILITY = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
JOBS = 2_000


class Noop(Flow):
    """A single-step job."""

    @step
    def only(): ...


class Chain(Flow):
    """Three steps in a row."""

    @step
    def first(): ...

    @step
    def second(first): ...

    @step
    def third(second): ...


class Fan(Flow):
    """Generate, map over 100, join."""

    @step
    def generate(): ...

    @map_step(over=generate)
    def each(item): ...

    @step
    def join(each): ...


class Wide(Flow):
    """One map over the input."""

    @map_step
    def each(item): ...


class Core:
    """One connection that plays client and worker."""

    def __init__(self, conn: psycopg.Connection[Any], *flows: type[Flow]) -> None:
        self.conn = conn
        self.worker_ids = {}
        for flow in flows:
            execute(conn, compile_flow(flow.definition.slug, flow.definition.shape()))
            self.worker_ids[flow.definition.slug] = uuid.uuid4()
        execute(
            conn,
            register_workers(self.worker_ids, function_name="benchmark", process=this_process(), version="benchmark"),
        )

    def start(self, slug: str, count: int, value: object = None) -> None:
        """Start runs in batches."""
        for at in range(0, count, BATCH):
            size = min(BATCH, count - at)
            inputs = [json.dumps({} if value is None else value)] * size
            execute(self.conn, start_flows(slug, inputs, [new_id() for _ in inputs]))

    def drain(self, slug: str, output: str = "1") -> int:
        """Claim and settle batches until there is nothing; return how many tasks that were."""
        done = 0
        worker_id = self.worker_ids[slug]
        outputs = {"generate": json.dumps(list(range(100)))}
        while claimed := execute(self.conn, claim_tasks([slug], [worker_id], [BATCH])):
            execute(
                self.conn,
                settle_tasks(
                    [
                        Settlement(
                            task.run_id,
                            task.step_slug,
                            task.task_index,
                            task.attempt,
                            worker_id,
                            outputs.get(task.step_slug, output),
                            None,
                            retryable=True,
                        )
                        for task in claimed
                    ]
                ),
            )
            done += len(claimed)
        return done

    def work(self, slug: str, runs: int, value: object = None) -> int:
        """Start runs and work them off."""
        self.start(slug, runs, value)
        return self.drain(slug)


def queue_alone(conn: psycopg.Connection[Any], messages: int) -> None:
    """Send, read and archive messages in batches: the yardstick."""
    body = json.dumps({"flow_slug": "noop", "run_id": str(uuid.uuid4()), "step_slug": "only", "task_index": 0})
    for _ in range(0, messages, BATCH):
        conn.execute("select pgmq.send_batch('yardstick', %s::jsonb[])", ([body] * BATCH,))
        ids = [found[0] for found in conn.execute("select msg_id from pgmq.read('yardstick', 30, %s)", (BATCH,))]
        conn.execute("select pgmq.archive('yardstick', %s::bigint[])", (ids,))


def main(rounds: int) -> None:
    """Print the table."""
    with postgres.start("auto", settings=DURABILITY) as server, connect(server.dsn) as conn:
        print(f"server: {server.kind} {server.version}, default durability, batches of {BATCH}")
        install(conn)
        conn.execute("select pgmq.create('yardstick')")
        core = Core(conn, Noop, Chain, Fan, Wide)
        yardstick = best_rate(rounds, JOBS, lambda: queue_alone(conn, JOBS))
        row("pgmq alone: send, read, archive", yardstick, yardstick)
        row("single-step jobs", best_rate(rounds, JOBS, lambda: core.work("noop", JOBS)), yardstick, "aim 0.25")
        chains = JOBS // 4
        row(
            "chains of three, in tasks",
            best_rate(rounds, chains * 3, lambda: core.work("chain", chains)),
            yardstick,
            "aim 0.30",
        )
        fans = JOBS // 100
        row(
            "fans of 1 + 100 + 1, in tasks",
            best_rate(rounds, fans * 102, lambda: core.work("fan", fans)),
            yardstick,
            "aim 0.30",
        )
        small = best_rate(rounds, 100 * 10, lambda: core.work("wide", 10, list(range(100))))
        row("maps of 100, in tasks", small, yardstick)
        large = best_rate(1, 10_000, lambda: core.work("wide", 1, list(range(10_000))))
        row(
            "one map of 10,000, in tasks",
            large,
            yardstick,
            f"aim: within 20 percent of the maps of 100 ({large / small:.2f})",
        )
