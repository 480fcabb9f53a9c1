"""What settle_tasks may make of a batch: the effect of its outcomes one at a time, in an order that it promises.

Completions come first, then completions of the wrong type, then failures with attempts left, then the others. Inside
each of these the order is free; of several outcomes for one task the first of the running attempt counts.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .compare import agrees
from .definition import Json, Ticket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .reference import Run

ANY = object()  # an answer that no rule fixes


@dataclass(frozen=True)
class Settlement(Ticket):
    """What settle_tasks is told about one attempt."""

    output: Json | None = None
    error: str | None = None
    retryable: bool = True


Applied = dict[int, object]  # place in the batch -> applied, or ANY


def settled_in_any_order(run: Run, told: dict[int, Settlement], now: float) -> Iterator[tuple[Run, Applied]]:
    """The run after each order, with whether each outcome was applied; told: the part of the batch of this run."""
    effective = _effective(run, told)
    completions = [i for i in effective if told[i].error is None and not _is_violation(run, told[i])]
    violations = [i for i in effective if told[i].error is None and _is_violation(run, told[i])]
    failures = [i for i in effective if told[i].error is not None]
    retries = [i for i in failures if run.will_retry(told[i].key, retryable=told[i].retryable)]
    for first in _orders_of_completions(run, told, completions):
        for second in itertools.permutations(violations):
            changed = run.copy()
            applied = {i: _apply(changed, told[i], now) for i in (*first, *second, *retries)}
            for ended, order in _exhausted(changed, told, [i for i in failures if i not in retries], now):
                answers = {**applied, **order}
                yield ended, answers | {i: _was_applied(ended, told[i]) for i in told if i not in answers}


def _effective(run: Run, told: dict[int, Settlement]) -> list[int]:
    taken: dict[object, int] = {}
    for index, each in told.items():
        if each.key not in taken and _has_effect(run, each):
            taken[each.key] = index
    return sorted(taken.values())


def _has_effect(run: Run, each: Settlement) -> bool:
    if run.is_running(each.key, each.attempt, each.worker):
        return True
    unnamed = each.error is None and each.attempt is None and each.key in run.tasks
    return unnamed and _is_violation(run, each) and run.states[each.key[0]].status == "started"


def _is_violation(run: Run, each: Settlement) -> bool:
    return run.violates(each.key[0], each.output)


def _orders_of_completions(run: Run, told: dict[int, Settlement], completions: list[int]) -> Iterator[list[int]]:
    """Completions of different steps commute unless a condition may fail the run."""
    if not run.flow.may_fail_by_condition:
        yield completions
        return
    slugs = dict.fromkeys(told[i].key[0] for i in completions)
    for order in itertools.permutations(slugs):
        yield [i for slug in order for i in completions if told[i].key[0] == slug]


def _exhausted(run: Run, told: dict[int, Settlement], places: list[int], now: float) -> Iterator[tuple[Run, Applied]]:
    """One task at a time, since each may end what the next one belongs to."""
    open_places = [i for i in places if run.is_running(told[i].key, told[i].attempt, told[i].worker)]
    if run.ended or not open_places:
        yield run, {}
    else:
        for place in open_places:
            changed = run.copy()
            applied = _apply(changed, told[place], now)
            for ended, others in _exhausted(changed, told, [i for i in open_places if i != place], now):
                yield ended, {place: applied, **others}


def _apply(run: Run, each: Settlement, now: float) -> object:
    about = {"attempt": each.attempt, "worker": each.worker}
    if each.error is None:
        done = run.complete(each.key, each.output, now, **about)
    else:
        done = run.fail(each.key, each.error, now, retryable=each.retryable, **about)
    return True if done else _was_applied(run, each)


def _was_applied(run: Run, each: Settlement) -> object:
    """D-5: a repeat by the same worker and attempt."""
    task = run.tasks.get(each.key)
    if task is None:
        return False
    if each.attempt is None or each.worker is None:
        return ANY
    own = (each.attempt, each.worker, "completed" if each.error is None else "failed")
    if task.settled == own and task.status in ("completed", "failed", "queued"):
        repeated = agrees(task.output, each.output) if each.error is None else task.error == each.error
        return True if repeated and (each.retryable or task.status != "queued") else ANY
    return ANY if own in task.history else False
