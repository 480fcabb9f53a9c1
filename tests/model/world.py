"""Both sides of an example: what the model says of every run, and the check that the database says the same."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .compare import by_run, differences, event_differences, expected
from .orders import ANY

if TYPE_CHECKING:
    import uuid

    from .database import Database
    from .definition import Flow, Ticket
    from .reference import Run
    from .rows import Task

MOST_ORDERS = 2000


@dataclass
class Alternative:
    """The run after one of the promised orders, and what each outcome is answered then."""

    run: Run
    answers: dict[int, tuple]


class World:
    """The runs of an example in the model, the clock of both sides, and what is known of the database."""

    def __init__(self, database: Database) -> None:
        self.db = database
        self.now = 0.0
        self.flows: dict[str, Flow] = {}
        self.runs: dict[uuid.UUID, Run] = {}
        self.tickets: list[Ticket] = []
        self.gone: set[uuid.UUID] = set()
        self.strays: dict[tuple[str, int], float] = {}  # when they are visible
        self.ids = itertools.count(1)

    def _tasks(self) -> list[tuple[uuid.UUID, tuple[str, int], Task]]:
        """All tasks, by run and key."""
        return [(run_id, key, task) for run_id, run in self.runs.items() for key, task in run.tasks.items()]

    def _live(self, queue: str) -> list[tuple[int, float]]:
        """The messages in a queue and when they are visible."""
        strays = [(place, at) for (name, place), at in self.strays.items() if name == queue]
        return strays + [
            (task.place, task.visible_at)
            for run_id, key, task in self._tasks()
            if self.runs[run_id].flow.queue(key[0]) == queue and task.visible_at is not None
        ]

    def _hide(self, queue: str, place: int) -> None:
        """A foreign worker has read it."""
        if (queue, place) in self.strays:
            self.strays[queue, place] = self.now + 500
        for run_id, key, task in self._tasks():
            if self.runs[run_id].flow.queue(key[0]) == queue and task.place == place:
                task.visible_at = self.now + 500

    def check(self, alternatives: dict | None = None, answers: list | None = None) -> None:
        """Database and model agree in all rows, messages and new events, for one of the promised orders."""
        alternatives = alternatives or {}
        snapshot = self.db.snapshot()
        rows = by_run(snapshot)
        assert set(rows) == {str(run_id) for run_id in self.runs}
        for run_id in self.runs:
            choices = alternatives.get(run_id)
            found = rows[str(run_id)]
            in_order = choices is None
            misses = []
            for choice in itertools.islice([Alternative(self.runs[run_id], {})] if in_order else choices, MOST_ORDERS):
                lines = self._differences(choice, found, str(run_id), answers, in_order=in_order)
                if not lines:
                    self.runs[run_id] = choice.run
                    break
                misses.append(lines)
            else:
                best = min(misses, key=len)
                raise AssertionError(
                    f"run {run_id} of {self.runs[run_id].flow}\n({len(misses)} orders tried)\n" + "\n".join(best)
                )
            self._adopt_places(self.runs[run_id], found["messages"], in_order=in_order)
            self.runs[run_id].events = []
        self._check_messages(snapshot["messages"])

    def _differences(self, choice, found, run_id: str, answers, *, in_order: bool) -> list[str]:
        lines = []
        wanted = expected(choice.run, self.now)
        for part, value in wanted.items():
            lines += differences(value, found[part], f".{part}")
        lines += event_differences(choice.run, found["events"], run_id, in_order=in_order)
        for index, answer in choice.answers.items():
            if not all(one is ANY or one == other for one, other in zip(answer, answers[index], strict=True)):
                lines.append(f".answer {index}: model {answer}, database {answers[index]}")
        return lines

    def _adopt_places(self, run: Run, messages: dict, *, in_order: bool) -> None:
        """New messages are in the order of steps and indexes (3.8.5); a known one never changes."""
        new: dict[object, list[int]] = {}
        for key in sorted(run.tasks):
            task = run.tasks[key]
            queue, place = messages[key]
            assert queue == run.flow.queue(key[0])
            if task.place is None and not task.sent_again:
                new.setdefault(queue if in_order else key[0], []).append(place)
            else:
                assert task.place in (None, place)
            task.place = place
        for places in new.values():
            assert places == sorted(places), f"messages out of order: {places}"

    def _check_messages(self, messages: list[dict]) -> None:
        """Each message in a queue is that of an open task, with exactly four keys (4.1), or a stray one."""
        wanted = {
            (run.flow.queue(key[0]), task.place): {
                "flow_slug": run.flow.slug,
                "run_id": str(run_id),
                "step_slug": key[0],
                "task_index": key[1],
            }
            for run_id, run in self.runs.items()
            for key, task in run.tasks.items()
            if task.visible_at is not None
        }
        found = {(each["queue"], each["id"]): each["body"] for each in messages}
        assert self.strays.keys() <= found.keys()
        assert {place: body for place, body in found.items() if place not in self.strays} == wanted
