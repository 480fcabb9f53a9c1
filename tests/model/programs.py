"""Random programs: each rule does one thing to the database and to the model, then both must agree in everything."""

from __future__ import annotations

import sys
import uuid
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from . import strategies
from .both_sides import FOREIGN, OTHER, OURS, WORKERS, BothSides
from .chance import UNKNOWN_RUN, Chance
from .compare import TOLERANCE
from .definition import Flow, Json, Ticket
from .orders import Settlement
from .reference import STALLS, Run
from .values import json_type

if TYPE_CHECKING:
    from .database import Database

INDEX = st.integers(0, 30)
CHANCES = st.integers(0, 2**32 - 1)


def has_tickets(self: Programs) -> bool:
    return bool(self.tickets)


def has_runs(self: Programs) -> bool:
    return bool(self.runs)


class Programs(BothSides, RuleBasedStateMachine):
    """One example: calls on two flows and a few runs, in any order that hypothesis can think of."""

    def __init__(self, database: Database) -> None:
        RuleBasedStateMachine.__init__(self)
        BothSides.__init__(self, database)

    @initialize(chosen=strategies.flow_sets())
    def define(self, chosen: list[Flow]) -> None:
        self.flows = {flow.slug: flow for flow in chosen}
        self.db.reset(chosen, WORKERS)

    # Starting

    def _pick_flow(self, index: int) -> Flow:
        return list(self.flows.values())[index % len(self.flows)]

    @precondition(lambda self: len(self.runs) < 4)
    @rule(data=st.data(), index=INDEX, with_id=st.booleans())
    def start(self, data, index, with_id) -> None:
        flow = self._pick_flow(index)
        run_input = data.draw(strategies.inputs(flow))
        given = uuid.UUID(int=1000 - next(self.ids)) if with_id else None
        run_id, status = self.db.start_flow(flow.slug, run_input, given)
        assert given in (None, run_id)
        self.runs[run_id] = Run(flow, run_input, self.now)
        assert status == self.runs[run_id].status
        self.check()

    @precondition(lambda self: len(self.runs) < 4)
    @rule(data=st.data(), index=INDEX, count=st.sampled_from([2, 3, 1, 0]), with_ids=st.booleans())
    def start_many(self, data, index, count, with_ids) -> None:
        flow = self._pick_flow(index)
        run_inputs = [data.draw(strategies.inputs(flow)) for _ in range(count)]
        given = [uuid.UUID(int=1000 - next(self.ids)) for _ in run_inputs] if with_ids else None
        found = self.db.start_flows(flow.slug, run_inputs, given)
        assert given in (None, [run_id for run_id, _ in found])
        for (run_id, status), run_input in zip(found, run_inputs, strict=True):
            self.runs[run_id] = Run(flow, run_input, self.now)
            assert status == self.runs[run_id].status
        self.check()
        if not with_ids:
            self._check_order_of_runs(flow, [run_id for run_id, _ in found])

    @precondition(lambda self: any(flow.has_root_map for flow in self.flows.values()))
    @rule(data=st.data(), index=INDEX, many=st.booleans())
    def start_with_unfit_input(self, data, index, many) -> None:
        """3.6.1; a batch with one such input starts nothing."""
        fitting = [flow for flow in self.flows.values() if flow.has_root_map]
        flow = fitting[index % len(fitting)]
        unfit = data.draw(strategies.NO_ARRAYS.map(Json) | strategies.SQL_NULL)
        if unfit is None:
            text = f"Flow {flow.slug} has root map steps but input is NULL"
        else:
            text = f"Flow {flow.slug} has root map steps but input is not an array (got {json_type(unfit.value)})"
        call, given = (self.db.start_flows, [Json([1]), unfit]) if many else (self.db.start_flow, unfit)
        with pytest.raises(psycopg.errors.RaiseException) as refused:
            call(flow.slug, given, None)
        assert refused.value.diag.message_primary == text
        self.check()

    # Claiming

    @precondition(has_runs)
    @rule(
        flows=st.sampled_from([slice(None), slice(None, None, -1), slice(1)]),
        quantity=st.sampled_from([100, 1, 2, 5]),
        worker=st.sampled_from([OURS, OTHER]),
        first_run_only=st.booleans(),
    )
    def claim(self, flows, quantity, worker, first_run_only) -> None:
        chosen = list(self.flows.values())[flows]
        self._claim(chosen, quantity, worker, list(self.runs)[:1] if first_run_only else None)
        self.check()

    @precondition(has_runs)
    @rule(index=INDEX, step=INDEX, quantity=st.sampled_from([100, 1, 3]), worker=st.sampled_from([FOREIGN, OURS, None]))
    def poll(self, index, step, quantity, worker) -> None:
        """As workers in other languages do: read messages, then start their tasks."""
        flow = self._pick_flow(index)
        slug = flow.steps[step % len(flow.steps)].slug
        queue = flow.queue(slug)
        readable = sorted(place for place, at in self._live(queue) if at <= self.now + TOLERANCE)[:quantity]
        messages = sorted(self.db.read(queue, quantity, vt=500))
        assert messages == readable
        for place in messages:
            self._hide(queue, place)
        self._start_tasks(flow, slug, messages, worker)
        self.check()

    @precondition(has_runs)
    @rule(chance=CHANCES, worker=st.sampled_from([FOREIGN, OURS]))
    def start_any_messages(self, chance, worker) -> None:
        """start_tasks takes any ids: delayed, hidden, archived, repeated, unknown."""
        chance = Chance(chance)
        flow = chance.choice(list(self.flows.values()))
        places = [task.place for run_id, _, task in self._tasks() if self.runs[run_id].flow is flow]
        chosen = [chance.choice([*places, 10**9]) for _ in range(chance.randrange(6))]
        self._start_tasks(flow, chance.choice(flow.steps).slug, chosen, worker)
        self.check()

    # Settling

    @precondition(has_tickets)
    @rule(chance=CHANCES, count=st.integers(1, 6), failures=st.sampled_from([0, 0.3, 0.6]))
    def settle(self, chance, count, failures) -> None:
        chance = Chance(chance)
        tickets = [chance.ticket(self.runs, self.tickets, OTHER) for _ in range(count)]
        self._settle([chance.settlement(self.runs.get(ticket.run), ticket, failures) for ticket in tickets])

    @precondition(has_runs)
    @rule(chance=CHANCES, turns=st.integers(1, 4), quantity=st.sampled_from([6, 3, 1]))
    def work(self, chance, turns, quantity) -> None:
        """A worker's turns: claim, run, settle all at once."""
        self._work(Chance(chance), turns, quantity, failures=0)

    @precondition(has_runs)
    @rule(chance=CHANCES, turns=st.integers(1, 4), quantity=st.sampled_from([6, 3, 1]))
    def work_with_failures(self, chance, turns, quantity) -> None:
        self._work(Chance(chance), turns, quantity, failures=0.5)

    def _work(self, chance: Chance, turns: int, quantity: int, failures: float) -> None:
        for _ in range(turns):
            tickets = self._claim(list(self.flows.values()), quantity, OURS)
            if tickets:
                self._settle([chance.settlement(self.runs[ticket.run], ticket, failures) for ticket in tickets])

    @precondition(has_runs)
    @rule(chance=CHANCES)
    def complete_task(self, chance) -> None:
        chance = Chance(chance)
        run_id, key = chance.task(self.runs)
        run = self.runs.get(run_id)
        output = chance.output(run, key[0])
        answer = self.db.complete(run_id, key, output)
        if run:
            run.complete(key, output, self.now)
        assert answer == ([run.tasks[key].status] if run and key in run.tasks else [])
        self.check()

    @precondition(has_runs)
    @rule(chance=CHANCES)
    def fail_task(self, chance) -> None:
        run_id, key = Chance(chance).task(self.runs)
        run = self.runs.get(run_id)
        answer = self.db.fail(run_id, key, "boom")
        if run and not run.fail(key, "boom", self.now):
            run.push_back(key, self.now)
        assert answer == ([run.tasks[key].status] if run and key in run.tasks else [])
        self.check()

    # Recovering

    @precondition(has_tickets)
    @rule(chance=CHANCES, count=st.integers(1, 4), delay=st.sampled_from([0, 300]))
    def give_back(self, chance, count, delay) -> None:
        chance = Chance(chance)
        tickets = [chance.ticket(self.runs, self.tickets, OTHER) for _ in range(count)]
        self._give_back([ticket for ticket in tickets if ticket.attempt and ticket.worker], delay)

    @precondition(has_tickets)
    @rule(chance=CHANCES, how=st.sampled_from(["stalled", "lost", "given back"]), count=st.integers(1, 4))
    def overtake(self, chance, how, count) -> None:
        """Running tasks go to another worker; what the first one says of them then comes too late."""
        before = [
            Ticket(run_id, key, task.attempts, task.worker)
            for run_id, key, task in self._tasks()
            if task.status == "started"
        ]
        if how == "stalled":
            self.wait(1000)
            self._requeue_stalled()
        elif how == "lost":
            for worker in (OURS, OTHER):
                self.worker_goes(worker, "silent")
            self._recover()
            for worker in (OURS, OTHER):
                self.worker_goes(worker, "back")
        else:
            self._give_back([ticket for ticket in before if ticket.worker], 0)
        self._claim(list(self.flows.values()), 100, OTHER)
        chance = Chance(chance)
        late = [chance.choice(before) for _ in range(count) if before]
        if chance.random() < 0.6:
            self._settle([chance.settlement(self.runs[ticket.run], ticket, 0.5) for ticket in late])
        else:
            self._give_back([ticket for ticket in late if ticket.worker], 0)

    @precondition(has_runs)
    @rule(seconds=st.sampled_from([200, 1000]))
    def wait(self, seconds) -> None:
        self.db.tick(seconds)
        self.now += seconds

    @precondition(has_runs)
    @rule(count=st.integers(0, 4))
    def skip_delays(self, count) -> None:
        chosen = list(self.runs)[:count]
        found = {(run_id, (slug, index)): seconds for run_id, slug, index, seconds in self.db.skip_delays(chosen)}
        for run_id, key, task in self._tasks():
            if run_id not in chosen or task.status != "queued" or task.visible_at is None:
                continue
            left = task.visible_at - self.now
            if left > TOLERANCE:
                assert abs(found.pop((run_id, key)) - left) < TOLERANCE
                task.visible_at = self.now
        assert not found
        self.check()

    @precondition(has_runs)
    @rule()
    def requeue_stalled_tasks(self) -> None:
        self._requeue_stalled()

    @precondition(has_runs)
    @rule(chance=CHANCES, then=st.sampled_from(["settle", "give back", "nothing"]))
    def stall_for_good(self, chance, then) -> None:
        """The contract gives up on what is running; its worker may come back, and its tasks may be taken up again."""
        for _ in range(STALLS + 1):
            self._start_all()
            self.wait(1000)
            self._requeue_stalled()
        given_up = [
            Ticket(run_id, key, task.attempts, task.worker) for run_id, key, task in self._tasks() if task.given_up
        ]
        if then == "settle":
            chance = Chance(chance)
            self._settle([chance.settlement(self.runs[ticket.run], ticket, 0.7) for ticket in given_up[:4]])
        elif then == "give back":
            self._give_back([ticket for ticket in given_up if ticket.worker], 0)
        self._claim(list(self.flows.values()), 100, OTHER)
        self.check()

    @precondition(has_runs)
    @rule(worker=st.sampled_from([OURS, OTHER, FOREIGN]), how=st.sampled_from(["stopped", "silent", "back"]))
    def worker_goes(self, worker, how) -> None:
        self.db.set_worker(worker, how == "stopped", how == "silent")
        (self.gone.discard if how == "back" else self.gone.add)(worker)

    @precondition(has_runs)
    @rule(repeat=st.sampled_from([1, 1, 4]))
    def recover_tasks(self, repeat) -> None:
        """Our recovery; repeated with new claims between, until tasks that keep getting lost have failed."""
        for _ in range(repeat):
            if repeat > 1:
                self._start_all()
            self._recover()

    @precondition(has_runs)
    @rule(index=INDEX, step=INDEX)
    def stray_message(self, index, step) -> None:
        """A message of a run that is gone; claims pass over it, recovery archives it."""
        flow = self._pick_flow(index)
        slug = flow.steps[step % len(flow.steps)].slug
        body = {"flow_slug": flow.slug, "run_id": str(UNKNOWN_RUN), "step_slug": slug, "task_index": 0}
        self.strays[flow.queue(slug), self.db.send(flow.queue(slug), body)] = self.now

    @precondition(has_runs)
    @rule(index=INDEX)
    def poke(self, index) -> None:
        """The inner functions change nothing when nothing is due."""
        run_id, run = list(self.runs.items())[index % len(self.runs)]
        self.db.poke(run_id, live=not run.ended)
        self.check()

    @precondition(has_runs)
    @rule(index=INDEX)
    def cancel(self, index) -> None:
        """D-20: what has ended, or never was, stays as it is."""
        run_id, run = list(self.runs.items())[index % len(self.runs)]
        assert self.db.cancel([UNKNOWN_RUN, run_id, run_id]) == ([run_id] if run.cancel() else [])
        self.check()

    @precondition(has_runs)
    @rule(index=INDEX, step=INDEX)
    def force_skip(self, index, step) -> None:
        """core 3.11 by hand, of a live run."""
        run_id, run = list(self.runs.items())[index % len(self.runs)]
        slug = run.flow.steps[step % len(run.flow.steps)].slug
        if not run.ended:
            assert self.db.force_skip(run_id, slug, "by_hand") == run.force_skip(slug, "by_hand")
        self.check()

    def teardown(self) -> None:
        """Every example ends: whatever happened before, working on brings each run to its end."""
        if not self.flows or sys.exc_info()[0]:  # hypothesis tears down after a failure, too
            return
        for worker in WORKERS:
            self.worker_goes(worker, "back")
        for _ in range(200):
            if all(run.ended for run in self.runs.values()):
                break
            self.wait(100_000)
            self._recover()
            for ticket in self._claim(list(self.flows.values()), 100, OURS):
                step = self.runs[ticket.run].flow.step(ticket.key[0])
                output = Json(None if step.is_map else [1])
                self._settle([Settlement(ticket.run, ticket.key, ticket.attempt, ticket.worker, output)])
        assert all(run.ended for run in self.runs.values())
        assert not [task for _, _, task in self._tasks() if task.status in ("queued", "started")]
