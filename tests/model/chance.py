"""Choices that depend on what a program has done so far: which attempt, which task, what its handler returns.

The database is free in some of what it does (which of two failing tasks ends a step, say), so two executions of one
program may differ. Hypothesis must see the same draws in both: it draws a number, and all else follows from that.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from .definition import Json, Ticket
from .orders import Settlement
from .values import ELEMENTS, OBJECTS, SCALARS

if TYPE_CHECKING:
    from .reference import Run

UNKNOWN_RUN = uuid.UUID(int=7)


class Chance(random.Random):
    """Random choices about runs."""

    def array(self) -> Json:
        return Json([self.choice(ELEMENTS) for _ in range(self.randrange(5))])

    def output(self, run: Run | None, slug: str) -> Json | None:
        """Any JSON or SQL NULL; mostly an array where a map child needs one."""
        step = run.flow.by_slug.get(slug) if run else None
        feeds_a_map = step and not step.is_map and any(child.is_map for child in run.flow.children(slug))
        kind = self.choice(
            ["array"] * 8 + ["scalar", "object", "null"] if feeds_a_map else ["scalar", "object", "array", "null"]
        )
        if kind == "array":
            return self.array()
        return None if kind == "null" else Json(self.choice(SCALARS if kind == "scalar" else OBJECTS))

    def settlement(self, run: Run | None, ticket: Ticket, failures: float) -> Settlement:
        """What comes of an attempt."""
        told = {"run": ticket.run, "key": ticket.key, "attempt": ticket.attempt, "worker": ticket.worker}
        if self.random() < failures:
            return Settlement(**told, error=self.choice(["boom", "", "späť\nline"]), retryable=self.random() < 0.6)
        return Settlement(**told, output=self.output(run, ticket.key[0]))

    def ticket(self, runs: dict[uuid.UUID, Run], tickets: list[Ticket], other_worker: uuid.UUID) -> Ticket:
        """Any attempt ever given out, mostly of running tasks; now and then another worker, attempt or task."""
        running = [each for each in tickets if runs[each.run].tasks[each.key].status == "started"]
        ticket = self.choice(running if running and self.random() < 0.75 else tickets)
        slug, index = ticket.key
        bent = [
            replace(ticket, worker=other_worker),
            replace(ticket, attempt=ticket.attempt + 1),
            replace(ticket, key=(slug, index + 3)),
            replace(ticket, run=UNKNOWN_RUN),
            replace(ticket, attempt=None, worker=None),
        ]
        return ticket if self.random() < 0.7 else self.choice(bent)

    def task(self, runs: dict[uuid.UUID, Run]) -> tuple[uuid.UUID, tuple[str, int]]:
        """Any task there is, whatever its status, mostly a running one; or one that does not exist."""
        tasks = [(run_id, key, task.status) for run_id, run in runs.items() for key, task in run.tasks.items()]
        running = [each for each in tasks if each[2] == "started"]
        if not tasks or self.random() < 0.05:
            return self.choice([(UNKNOWN_RUN, ("a", 0)), *((run_id, (slug, 9)) for run_id in runs for slug in "ab")])
        return self.choice(running if running and self.random() < 0.75 else tasks)[:2]
