"""Calls on both sides: each is made on the database and in the model, and their answers are compared."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from .compare import TOLERANCE, agrees
from .definition import Flow, Ticket
from .orders import ANY, Settlement, settled_in_any_order
from .reference import STALLS, Run
from .rows import SOME_TEXT
from .world import Alternative, World

if TYPE_CHECKING:
    from collections.abc import Iterator


OURS, OTHER, FOREIGN = (uuid.UUID(int=number) for number in (1, 2, 3))
WORKERS = {OURS: True, OTHER: True, FOREIGN: False}  # is it one of ours?


class BothSides(World):
    """What programs are made of."""

    def _check_order_of_runs(self, flow: Flow, run_ids: list[uuid.UUID]) -> None:
        """Messages of earlier inputs come first, where the ids are ours (D-9)."""
        for queue in flow.queues:
            last = 0
            for run_id in run_ids:
                places = [t.place for (slug, _), t in self.runs[run_id].tasks.items() if flow.queue(slug) == queue]
                assert all(place > last for place in places)
                last = max([last, *places])

    def _waiting(self, flow: Flow, only_runs=None) -> list[tuple[uuid.UUID, tuple[str, int]]]:
        """What a claim of ours can take: visible and startable, oldest message first."""
        found = []
        for run_id, run in self.runs.items():
            if run.flow.slug != flow.slug or (only_runs is not None and run_id not in only_runs):
                continue
            for key, task in run.tasks.items():
                if run.can_start(key) and task.visible_at is not None and task.visible_at <= self.now + TOLERANCE:
                    found.append((task.place, run_id, key))
        return [(run_id, key) for _, run_id, key in sorted(found)]

    def _claim(self, chosen: list[Flow], quantity: int, worker: uuid.UUID, only_runs=None) -> list[Ticket]:
        claimed = self.db.claim(
            [flow.slug for flow in chosen], [worker] * len(chosen), [quantity] * len(chosen), only_runs
        )
        queues: dict[str, list[tuple[uuid.UUID, tuple[str, int]]]] = {}
        for flow in chosen:
            for run_id, key in self._waiting(flow, only_runs):
                queues.setdefault(flow.queue(key[0]), []).append((run_id, key))
        sources = sum(len(flow.queues) for flow in chosen)
        for queue, waiting in queues.items():  # the oldest ones, and no queue less than its part
            mine = [(t.run, t.key) for t in claimed if self.runs[t.run].flow.queue(t.key[0]) == queue]
            assert mine == waiting[: len(mine)], f"{queue}: {mine} instead of {waiting}, oldest first"
            assert len(mine) >= min(len(waiting), quantity // sources)
        assert len(claimed) == min(quantity, sum(map(len, queues.values())))
        return [self._started(task, worker, ours=True) for task in claimed]

    def _started(self, task, worker, *, ours: bool) -> Ticket:
        """Checks one claimed row and starts the task in the model."""
        run = self.runs[task.run]
        run.start_task(task.key, worker, self.now)
        assert task.message == run.tasks[task.key].place
        assert task.attempt == run.tasks[task.key].attempts
        assert task.timeout == (run.flow.option(task.key[0], "timeout") if ours else None)
        assert agrees(run.task_input(task.key), task.input), (task, run.task_input(task.key))
        assert agrees(run.flow_input(task.key[0]), task.flow_input), task
        ticket = Ticket(task.run, task.key, task.attempt, worker)
        self.tickets.append(ticket)
        return ticket

    def _start_all(self) -> None:
        while self._claim(list(self.flows.values()), 100, OURS):
            self.check()

    def _start_tasks(self, flow: Flow, slug: str, messages: list[int], worker) -> None:
        queue = flow.queue(slug)
        startable = {
            (run_id, key)
            for run_id, key, task in self._tasks()
            if self.runs[run_id].flow is flow
            and flow.queue(key[0]) == queue
            and task.place in messages
            and self.runs[run_id].can_start(key)
        }
        found = self.db.start_tasks(flow, queue, slug, messages, worker)
        assert len(found) == len(startable)
        assert {(task.run, task.key) for task in found} == startable
        for task in found:
            self._started(task, worker, ours=False)

    def _settle(self, told: list[Settlement]) -> None:
        answers = self.db.settle(told)
        mine: dict[uuid.UUID, dict[int, Settlement]] = {}
        for index, each in enumerate(told):
            if each.run in self.runs:
                mine.setdefault(each.run, {})[index] = each
            else:
                assert answers[index] == (False, None, None, None)
        self.check({run_id: self._alternatives(run_id, part) for run_id, part in mine.items()}, answers)

    def _alternatives(self, run_id: uuid.UUID, told: dict[int, Settlement]) -> Iterator[Alternative]:
        for run, applied in settled_in_any_order(self.runs[run_id], told, self.now):
            yield Alternative(run, {i: (applied[i], *self._statuses(run, each.key)) for i, each in told.items()})

    @staticmethod
    def _statuses(run: Run, key: tuple[str, int]) -> tuple:
        task = run.tasks.get(key)
        return (None, ANY, ANY) if task is None else (task.status, run.states[key[0]].status, run.status)

    def _give_back(self, tickets: list[Ticket], delay: int) -> None:
        given = self.db.give_back(tickets, delay)
        done = [
            self.runs[ticket.run].give_back(ticket.key, ticket.attempt, ticket.worker, delay, self.now)
            for ticket in tickets
            if ticket.run in self.runs
        ]
        assert given == sum(done)
        self.check()

    def _requeue_stalled(self) -> None:
        """core ST-1 to ST-5, generations 2.7."""
        stalled = [
            (self.runs[run_id], key)
            for run_id, key, task in self._tasks()
            if self.runs[run_id].is_stalled(key, self.now) and not task.given_up
        ]
        lively = [(run, key) for run, key in stalled if run.tasks[key].requeued < STALLS]
        assert self.db.requeue_stalled() == len(lively)
        for run, key in stalled:
            if (run, key) in lively:
                run.requeue(key, self.now, keep_attempt=True)
            else:
                run.give_up(key)
        self.check()

    def _recover(self) -> None:
        """D-3: three requeues, then a failed attempt."""
        lost, stalled, ended = [], [], []
        for run_id, key, task in self._tasks():
            run = self.runs[run_id]
            if run.ended or task.status != "started" or run.states[key[0]].status != "started":
                continue
            is_lost = task.worker in self.gone and WORKERS[task.worker]
            if task.given_up or ((is_lost or run.is_stalled(key, self.now)) and task.requeued >= STALLS):
                ended.append((run_id, key))
            elif is_lost:
                lost.append((run_id, key))
            elif run.is_stalled(key, self.now):
                stalled.append((run_id, key))
        freed = self.db.recover()
        self.strays = {stray: at for stray, at in self.strays.items() if at > self.now + TOLERANCE}
        requeued = [(*each, False) for each in lost] + [(*each, True) for each in stalled]
        touched = {run_id for run_id, _ in lost + stalled + ended}
        self.check({run_id: self._recovered(run_id, ended, requeued) for run_id in touched})
        freed_by_model = sum(self.runs[run_id].tasks[key].status == "queued" for run_id, key in lost + stalled + ended)
        assert freed == freed_by_model

    def _recovered(self, run_id: uuid.UUID, ended: list, requeued: list) -> Iterator[Alternative]:
        """Failures first, in any order; they may end what was to be requeued."""
        keys = [key for other, key in ended if other == run_id]
        told = {i: Settlement(run_id, key, None, None, error=SOME_TEXT) for i, key in enumerate(keys)}
        for run, _ in settled_in_any_order(self.runs[run_id], told, self.now):
            for other, key, kept in requeued:
                if other == run_id and run.tasks[key].status == "started":
                    run.requeue(key, self.now, keep_attempt=kept)
            yield Alternative(run, {})
