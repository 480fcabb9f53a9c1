"""The SQL alone: start, claim, settle in batches on one connection, against raw pgmq on the same server.

The yardstick is send_batch + read + archive of 100 messages: what the queue itself costs. A workflow engine on
top of it keeps runs, steps and tasks as well; the ratio says how much of the queue's speed is left. Everything is
measured in turns, round after round, so that what else the machine does disturbs all of it alike; the best of each
counts. Then again with finished runs in the tables.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.history import bury
from benchmarks.server_cost import ServerCost, print_costs
from benchmarks.table import row, seconds
from benchmarks.timed_rules import print_timed_rules
from pgflow_mp import Flow, map_step, postgres, step
from pgflow_mp.connecting import connect
from pgflow_mp.core.install import install
from pgflow_mp.core.queries.definitions import compile_flow
from pgflow_mp.core.queries.runs import start_flows
from pgflow_mp.core.queries.tasks import ClaimedTask, Settlement, claim_tasks, settle_tasks
from pgflow_mp.core.queries.workers import register_workers
from pgflow_mp.core.statement import execute
from pgflow_mp.engine.host import this_process
from pgflow_mp.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

BATCH = 100
JOBS = 2_000

# What a server has by default and a throw-away one has not.
DURABILITY = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


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
        self.outputs = {"generate": json.dumps(list(range(100)))}

    def start(self, slug: str, count: int, value: object = None) -> None:
        """Start runs in batches."""
        for at in range(0, count, BATCH):
            size = min(BATCH, count - at)
            inputs = [json.dumps({} if value is None else value)] * size
            execute(self.conn, start_flows(slug, inputs, [new_id() for _ in inputs]))

    def claim(self, slug: str, worker_id: uuid.UUID, quantity: int = BATCH) -> list[ClaimedTask]:
        """Claim a batch."""
        return execute(self.conn, claim_tasks([slug], [worker_id], [quantity]))

    def settle(self, claimed: list[ClaimedTask], worker_id: uuid.UUID) -> None:
        """Settle a batch."""
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
                        self.outputs.get(task.step_slug, "1"),
                    )
                    for task in claimed
                ]
            ),
        )

    def drain(self, slug: str) -> int:
        """Claim and settle batches until there is nothing; return how many tasks that were."""
        done = 0
        worker_id = self.worker_ids[slug]
        while claimed := self.claim(slug, worker_id):
            self.settle(claimed, worker_id)
            done += len(claimed)
        return done

    def work(self, slug: str, runs: int, value: object = None) -> None:
        """Start runs and work them off."""
        self.start(slug, runs, value)
        self.drain(slug)


@dataclass(frozen=True, slots=True)
class Workload:
    """Something to measure: its name, how many tasks it is, and how to do it once."""

    name: str
    tasks: int
    work: Callable[[], None]
    aim: float | None = None


def queue_alone(conn: psycopg.Connection[Any], messages: int) -> None:
    """Send, read and archive messages in batches: the yardstick."""
    body = json.dumps({"flow_slug": "noop", "run_id": str(uuid.uuid4()), "step_slug": "only", "task_index": 0})
    for _ in range(0, messages, BATCH):
        conn.execute("select pgmq.send_batch('yardstick', %s::jsonb[])", ([body] * BATCH,))
        ids = [found[0] for found in conn.execute("select msg_id from pgmq.read('yardstick', 30, %s)", (BATCH,))]
        conn.execute("select pgmq.archive('yardstick', %s::bigint[])", (ids,))


def workloads(core: Core, jobs: int, widest: int) -> list[Workload]:
    """List what is measured, the yardstick first; all take about as long, so that luck favours none."""
    fans = max(jobs // 100, 1)
    return [
        Workload("pgmq alone: send, read, archive", 5 * jobs, partial(queue_alone, core.conn, 5 * jobs)),
        Workload("single-step jobs", jobs, partial(core.work, "noop", jobs), 0.25),
        Workload("chains of three", jobs // 4 * 3, partial(core.work, "chain", jobs // 4), 0.30),
        Workload("fans of 1 + 100 + 1", fans * 102, partial(core.work, "fan", fans), 0.30),
        Workload("maps of 100", widest, partial(core.work, "wide", widest // 100, list(range(100)))),
        Workload(f"one map of {widest:,}", widest, partial(core.work, "wide", 1, list(range(widest)))),
    ]


def measure(
    conn: psycopg.Connection[Any], work: list[Workload], rounds: int
) -> tuple[dict[str, float], dict[str, ServerCost]]:
    """Do everything once a round, in turn; return the best rates and what a task costs the server on average."""
    rates = {each.name: 0.0 for each in work}
    costs = {each.name: ServerCost() for each in work}
    for _ in range(rounds):
        for each in work:
            before = ServerCost.of(conn)
            rate = each.tasks / seconds(each.work)
            rates[each.name] = max(rates[each.name], rate)
            costs[each.name] += (ServerCost.of(conn) - before) / (each.tasks * rounds)
    return rates, costs


def show(work: list[Workload], rates: dict[str, float], earlier: dict[str, float] | None = None) -> None:
    """Print the table; `earlier`: what was measured without the history."""
    yardstick = rates[work[0].name]
    for each in work:
        remarks = [] if each.aim is None else [f"aim {each.aim:.2f}"]
        if earlier is not None:
            without = earlier[each.name] / earlier[work[0].name]
            remarks.append(f"{rates[each.name] / yardstick / without:.2f} of the ratio without history")
        row(each.name, rates[each.name], yardstick, ", ".join(remarks))
    print(f"{'one wide map to maps of 100':<44} {rates[work[5].name] / rates[work[4].name]:>12.2f}   aim 0.80")


def main(rounds: int, *, jobs: int = JOBS, widest: int = 10_000, history: int = 1_000_000) -> None:
    """Print the tables.

    Args:
        rounds: How often everything is measured.
        jobs: Single-step jobs of one measurement; the other loads are sized after it.
        widest: Elements of the wide map, in hundreds.
        history: Finished runs in the tables of the second part; 0 leaves it out.
    """
    with postgres.start("auto", settings=DURABILITY) as server, connect(server.dsn) as conn:
        print(f"server: {server.kind} {server.version}, default durability, batches of {BATCH}")
        install(conn)
        conn.execute("select pgmq.create('yardstick')")
        core = Core(conn, Noop, Chain, Fan, Wide)
        work = workloads(core, jobs, widest)
        for each in work:
            each.work()  # a worker is not born with every batch: plans are made, tables have their first pages
        rates, costs = measure(conn, work, rounds)
        show(work, rates)
        print_costs(costs)
        print_timed_rules(core)
        if history:
            took = seconds(partial(bury, conn, "noop", history))
            print(f"\nwith {history:,} finished runs in the tables (made in {took:.0f} s)")
            for each in work:
                each.work()
            later, costs = measure(conn, work, rounds)
            show(work, later, rates)
            print_costs(costs)
