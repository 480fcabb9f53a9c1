"""A database of another core, full of runs in every state, with a worker of its generation in the middle of tasks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from pgflow_mp import Flow, map_step, step
from pgflow_mp.engine.workoff import work_off
from tests.core import foreign
from tests.core.ask import rows, value
from tests.core.foreign.replay import Replay

if TYPE_CHECKING:
    import uuid

    import psycopg


class Order(Flow, slug="Order"):
    """A map over a list, a sum of it, a branch that waits and one beside; the slug has an upper-case letter."""

    @step(max_attempts=2)
    def fetch(flow_input):
        if flow_input["items"] is None:
            raise ValueError("no items")
        return flow_input["items"]

    @map_step(over=fetch, max_attempts=1, when_exhausted="skip")
    def price(item):
        if item == "bad":
            raise ValueError("bad item")
        return item * 10

    @step(depends_on=[price])
    def total(price=None):
        return None if price is None else sum(price)

    @step(depends_on=[fetch], start_delay=300)
    def later(fetch):
        return len(fetch)

    @step
    def audit(flow_input):
        return "seen"


class OldOrder(Flow, slug="Order"):
    """The same for a core that knows no conditions (before 0.14): what fails, fails the run."""

    fetch = Order.fetch
    price = map_step(over=fetch, max_attempts=1)(lambda item: Order.price(item))
    total = Order.total
    later = Order.later
    audit = Order.audit


def flow_of(generation: str) -> type[Flow]:
    return OldOrder if generation == foreign.NPM else Order


def output_of(task: dict[str, Any]) -> Any:
    """What a worker of another language makes of a task; its input is looked for where each generation has it."""
    given, slug = task["input"], task["step_slug"]
    run_input = task.get("flow_input") or (given.get("run") if isinstance(given, dict) else None)
    if slug == "fetch":
        if run_input["items"] is None:
            raise ValueError("no items")
        return run_input["items"]
    if slug == "price":
        if given == "bad":
            raise ValueError("bad item")
        return given * 10
    if slug == "total":
        return sum(given["price"]) if "price" in given else None
    return len(given["fetch"]) if slug == "later" else "seen"


OLD_ORDER = """
select pgflow.create_flow('Order');
select pgflow.add_step('Order', 'fetch', '{}', max_attempts => 2);
select pgflow.add_step('Order', 'price', '{fetch}', max_attempts => 1, step_type => 'map');
select pgflow.add_step('Order', 'total', '{price}');
select pgflow.add_step('Order', 'later', '{fetch}', start_delay => 300);
select pgflow.add_step('Order', 'audit', '{}');
"""
COMPLETED = {"total": 60, "later": 3, "audit": "seen"}


@dataclass
class Crowd:
    """The database, its runs and its worker.

    Attributes:
        expected: Status and output that each run ends with.
        held: Tasks that the worker has claimed and not yet reported.
    """

    conn: psycopg.Connection[Any]
    generation: str
    worker: Replay
    expected: dict[uuid.UUID, tuple[str, Any]] = field(default_factory=dict)
    held: list[dict[str, Any]] = field(default_factory=list)

    def start(self, items: Any, ends: tuple[str, Any]) -> uuid.UUID:
        run_id = value(
            self.conn,
            "select run_id from pgflow.start_flow(flow_slug => 'Order', input => %s::jsonb)",
            Jsonb({"items": items}),
        )
        self.expected[run_id] = ends
        return run_id

    def rush(self) -> None:
        """Make every message of a queued task visible now; those of running tasks stay away as they are."""
        self.conn.execute(
            "update pgmq.q_order as q set vt = clock_timestamp() - interval '1 second' from pgflow.step_tasks as t "
            "where t.message_id = q.msg_id and t.status = 'queued'"
        )

    def work(self, keep: Any = lambda task: False) -> int:
        """One poll by the old worker; tasks that `keep` picks are held, all others reported."""
        tasks = self.worker.claim()
        for task in tasks:
            if keep(task):
                self.held.append(task)
            else:
                self.worker.report(task)
        return len(tasks)

    def old_worker_finishes(self) -> None:
        """The old worker reports what it holds, and works until nothing is open."""
        for task in self.held:
            self.worker.report(task)
        self.until_ended(self.work)

    def until_ended(self, work: Any) -> None:
        deadline = time.monotonic() + 60
        while self.open():
            assert time.monotonic() < deadline, self.states()
            self.rush()
            work()

    def our_worker_finishes(self) -> None:
        """The old worker is gone; ours frees what it held, as its timeouts are over, and does the rest."""
        self.conn.execute(
            "update pgflow.step_tasks set queued_at = queued_at - interval '1 day', "
            "started_at = started_at - interval '1 day' where status = 'started'"
        )
        self.conn.execute("select pgflow_mp.recover_tasks()")
        self.ours_until(lambda: False)

    def ours_until(self, until: Any) -> None:
        deadline = time.monotonic() + 60
        flow = flow_of(self.generation).definition
        ids = self.open()
        if ids:
            work_off(self.conn, [flow], ids, out_of_time=lambda: time.monotonic() > deadline, until=until)

    def both_finish(self) -> None:
        """The old worker reports what it holds while ours takes a task at a time between its polls."""

        def turn() -> None:
            if self.held:
                self.worker.report(self.held.pop())
            done = iter((False, True))
            self.ours_until(lambda: next(done, True))
            self.rush()
            self.work()

        self.until_ended(turn)

    def open(self) -> list[uuid.UUID]:
        return [run_id for (run_id,) in rows(self.conn, "select run_id from pgflow.runs where status = 'started'")]

    def ends(self) -> dict[uuid.UUID, tuple[str, Any]]:
        found = rows(self.conn, "select run_id, status, output from pgflow.runs")
        return {run_id: (status, output) for run_id, status, output in found}

    def states(self) -> list[tuple[Any, ...]]:
        return rows(
            self.conn,
            "select r.status, s.step_slug, s.status, s.remaining_deps, t.task_index, t.status, t.attempts_count "
            "from pgflow.runs as r join pgflow.step_states as s using (run_id) "
            "left join pgflow.step_tasks as t using (run_id, step_slug) where r.status = 'started'",
        )


def fill(conn: psycopg.Connection[Any], generation: str) -> Crowd:
    """Make the flow, and runs in every state."""
    if generation == foreign.NPM:
        conn.execute(OLD_ORDER)
    crowd = Crowd(conn, generation, Replay(conn, generation, flow_of(generation).definition, output_of))
    crowd.worker.start()
    fine = ("completed", COMPLETED)

    crowd.start([1, 2, 3], fine)  # ended
    crowd.until_ended(crowd.work)

    failed = crowd.start(None, ("failed", None))  # failed, while a task of another branch is at work
    for _ in range(2):
        crowd.rush()
        crowd.work(lambda task: task["step_slug"] == "audit")
    assert crowd.ends()[failed][0] == "failed"

    knows_skipping = generation != foreign.NPM  # one element fails while two are at work
    skipping = ("completed", {"total": None, "later": 3, "audit": "seen"})
    crowd.start([1, "bad", 3], skipping if knows_skipping else ("failed", None))
    crowd.work()
    crowd.work(lambda task: task["task_index"] != 1)

    crowd.start([1, 2, 3], fine)  # a map half done
    crowd.work()
    crowd.work(lambda task: task["step_slug"] == "price" and task["task_index"] == 1)

    retrying = crowd.start([1, 2, 3], fine)  # waits for its second attempt
    crowd.work(lambda task: task["step_slug"] == "fetch")
    (task,) = [task for task in crowd.held if task["run_id"] == retrying]
    crowd.held.remove(task)
    conn.execute("select pgflow.fail_task(%s, 'fetch', 0, 'once')", (retrying,))

    crowd.start([1, 2, 3], fine)  # both roots at work
    crowd.work(lambda task: True)

    crowd.start([], ("completed", {"total": 0, "later": 0, "audit": "seen"}))  # queued
    crowd.start([1, 2, 3], fine)
    return crowd
