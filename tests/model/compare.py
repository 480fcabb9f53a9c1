"""Puts a run of the model and the rows of the database side by side, and names every difference."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .definition import Flow, Json
from .rows import SOME_TEXT, OneOf
from .values import same

if TYPE_CHECKING:
    from .reference import Run

TOLERANCE = 40  # seconds that may pass while an example runs; every duration in it is far from any other


class Seconds:
    """A duration, give or take the time that the example itself takes."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __repr__(self) -> str:
        return f"about {self.seconds:.0f} s"


def expected(run: Run, now: float) -> dict:
    """A run of the model in the form in which `by_run` shows a run of the database."""
    ended = {"started": [], "completed": ["completed_at"], "failed": ["failed_at"]}
    return {
        "run": {
            "status": run.status,
            "output": run.output,
            "remaining_steps": run.remaining_steps,
            "times": ended[run.status],
        },
        "steps": {slug: _expected_state(state) for slug, state in run.states.items()},
        "tasks": {key: _expected_task(task, now) for key, task in run.tasks.items()},
    }


def _expected_state(state) -> dict:
    times = {"completed": ["completed_at"], "failed": ["failed_at"], "skipped": ["skipped_at"]}
    return {
        "status": state.status,
        "remaining_tasks": state.remaining_tasks,
        "initial_tasks": state.initial_tasks,
        "remaining_deps": state.remaining_deps,
        "output": state.output,
        "error": state.error,
        "skip_reason": state.skip_reason,
        "was_started": state.was_started,
        "times": times.get(state.status, []),
    }


def _expected_task(task, now: float) -> dict:
    times = {"completed": ["completed_at"], "failed": ["failed_at"]}
    return {
        "status": task.status,
        "attempts": task.attempts,
        "output": task.output,
        "error": task.error,
        "worker": task.worker and str(task.worker),
        "started": task.started_at is not None,
        "requeued": task.requeued,
        "given_up": task.given_up,
        "visible_in": None if task.visible_at is None else Seconds(task.visible_at - now),
        "is_archived": task.visible_at is None,
        "times": times.get(task.status, []),
    }


def by_run(snapshot: dict) -> dict[str, dict]:
    """The rows of each run; events in order as (event, payload, places of times)."""
    runs = {
        run: {"run": {**row, "output": _column(row["output"])}, "steps": {}, "tasks": {}, "messages": {}, "events": []}
        for run, row in (snapshot["runs"] or {}).items()
    }
    for row in snapshot["states"]:
        row["output"] = _column(row["output"])
        runs[row.pop("run")]["steps"][row.pop("step")] = row
    for row in snapshot["tasks"]:
        row["output"] = _column(row["output"])
        found, key = runs[row.pop("run")], (row.pop("step"), row.pop("index"))
        found["messages"][key] = (row.pop("queue"), row.pop("message"))
        found["tasks"][key] = row
    for row in snapshot["events"]:
        assert row["private"] is False
        runs[row["topic"].removeprefix("pgflow:run:")]["events"].append((row["event"], row["payload"]))
    return runs


def _column(text: str | None) -> Json | None:
    return None if text is None else Json(json.loads(text))


def differences(wanted: object, found: object, place: str = "") -> list[str]:
    """What is not as the model says."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        lines = []
        for key in [*wanted, *(key for key in found if key not in wanted)]:
            if key not in found or key not in wanted:
                lines.append(f"{place}.{key}: only in the {'model' if key in wanted else 'database'}")
            else:
                lines += differences(wanted[key], found[key], f"{place}.{key}")
        return lines
    return [] if agrees(wanted, found) else [f"{place}: model {wanted!r}, database {found!r}"]


def agrees(wanted: object, found: object) -> bool:
    if isinstance(wanted, Seconds):
        if found is None:
            return False
        both_past = wanted.seconds <= TOLERANCE and found <= TOLERANCE  # only that it is visible matters
        return both_past or abs(found - wanted.seconds) <= TOLERANCE
    if isinstance(wanted, Json) and isinstance(found, Json):
        return same(wanted.value, found.value)
    if isinstance(wanted, OneOf):
        return found in wanted
    if wanted is SOME_TEXT:
        return isinstance(found, str) and found != ""
    if isinstance(wanted, Json) or isinstance(found, Json) or wanted is None or found is None:
        return wanted is None and found is None
    return same(wanted, found) if isinstance(wanted, (bool, int, float, str, list)) else wanted == found


def event_differences(run: Run, found: list, run_id: str, *, in_order: bool) -> list[str]:
    """Events since the last look. Of a batch, only what holds for each order of its outcomes is compared."""
    groups = run.events if in_order else [[event for group in run.events for event in group]]
    lines, rest = [], list(found)
    for group in groups:
        here, rest = rest[: len(group)], rest[len(group) :]
        for event in group:
            match = next((other for other in here if _same_event(event, other, run_id)), None)
            if match is None:
                lines.append(f".events: missing {event.event} {event.payload}; there: {here}")
            else:
                here.remove(match)
    lines += [f".events: unexpected {event}" for event in rest]
    return lines if in_order else lines + event_disorder(run.flow, [event for event, _ in found])


def _same_event(event, other, run_id: str) -> bool:
    name, payload = other
    times = {key for key in payload if key.endswith("_at")}
    if name != event.event or times != event.times or any(not isinstance(payload[key], str) for key in times):
        return False
    wanted = {**event.payload, "run_id": run_id}
    given = {key: value for key, value in payload.items() if key not in times}
    if wanted.keys() != given.keys():
        return False
    return all(
        agrees(wanted[key], given[key])
        if isinstance(wanted[key], OneOf) or wanted[key] is SOME_TEXT
        else same(wanted[key], given[key])
        for key in wanted
    )


def event_disorder(flow: Flow, names: list[str]) -> list[str]:
    """core 7 (3): parents before children, the run's end last (a type violation's step:failed excepted)."""
    lines = []
    place = {name: index for index, name in enumerate(names)}
    if "run:completed" in place and place["run:completed"] != len(names) - 1:
        lines.append(f".events: run:completed is not last: {names}")
    if "run:failed" in place and any(not name.endswith(":failed") for name in names[place["run:failed"] :]):
        lines.append(f".events: run:failed is followed by more: {names}")
    for step in flow.steps:  # one that is skipped with a parent does not wait for its other parents
        own = [place.get(f"step:{step.slug}:{status}", len(names)) for status in ("started", "completed", "failed")]
        for parent in step.deps:
            ends = [place.get(f"step:{parent}:{status}", -1) for status in ("completed", "skipped")]
            if min(own) < max(ends):
                lines.append(f".events: {step.slug} before its parent {parent}: {names}")
    return lines
