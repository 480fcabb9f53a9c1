"""Random flows, worked off by many sessions whose connections are killed, end as one worker alone would end them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from . import strategies
from .compare import by_run, differences, event_disorder, expected
from .crew import Behaviour, Crew, Job

if TYPE_CHECKING:
    from .reference import Run

SECONDS = 60


@st.composite
def jobs(draw) -> Job:
    flows = draw(strategies.flow_sets())
    behaviour = {}
    for flow in flows:
        for step in flow.steps:
            feeds_a_map = not step.is_map and any(child.is_map for child in flow.children(step.slug))
            outputs = strategies.ARRAY_OUTPUTS if feeds_a_map and draw(st.integers(0, 19)) else strategies.OUTPUTS
            behaviour[flow.slug, step.slug] = Behaviour(
                draw(outputs), draw(st.sampled_from([0, 0, 0, 0, 0, 1, 1, 2, 99]))
            )
    chosen = draw(st.lists(st.sampled_from(flows), min_size=4, max_size=16))
    runs = {uuid.UUID(int=number): (flow, draw(strategies.inputs(flow))) for number, flow in enumerate(chosen, 1)}
    doomed = draw(st.lists(st.sampled_from(list(runs)), max_size=3, unique=True))
    return Job({flow.slug: flow for flow in flows}, runs, behaviour, doomed)


def test_many_sessions_end_every_run_as_one_would(model_database, model_dsn, crowd_settings):
    @crowd_settings
    @given(jobs(), st.integers(0, 2**32))
    def check(job, seed):
        model_database.reset(list(job.flows.values()), {})
        crew = Crew(model_dsn, job, seed)
        crew.run(SECONDS)
        snapshot = model_database.snapshot()
        assert not snapshot["messages"], "messages were left behind"
        found = by_run(snapshot)
        cancelled = model_database.cancelled()
        assert cancelled <= set(job.doomed)
        for run_id in job.runs:
            wrong = wrong_in_cancelled if run_id in cancelled else wrong_in
            lines = wrong(job.expected(run_id), found[str(run_id)])
            assert not lines, "\n".join([f"run {run_id} of {job.runs[run_id]}", *lines])
        assert not crew.deadlocks, "\n".join(crew.deadlocks)

    check()


def wrong_in(run: Run, found: dict) -> list[str]:
    """What no interleaving explains. How far a failed run got depends on which of its sessions was first."""
    if found["run"]["status"] != run.status:
        return [f"model {run.status}, database {found['run']['status']}"]
    wanted = expected(run, 0.0)
    lines = wrong_events(run, found) + open_tasks(found)
    if run.status == "completed":
        lines += differences(wanted["run"], found["run"], "run") + differences(wanted["steps"], found["steps"], "steps")
        for (slug, index), task in wanted["tasks"].items():
            if run.states[slug].status == "completed" or index == 0:  # siblings of a failed task may have been faster
                kept = {name: task[name] for name in ("status", "attempts", "output", "error", "times")}
                there = {name: found["tasks"][slug, index][name] for name in kept}
                lines += differences(kept, there, f"tasks.{slug}.{index}")
    return lines


def wrong_in_cancelled(run: Run, found: dict) -> list[str]:
    """It may have come as far as it liked, but then it failed, and nothing of it is open (D-20)."""
    if found["run"]["status"] != "failed":
        return [f"cancelled, but {found['run']['status']}"]
    return wrong_events(run, found) + open_tasks(found)


def open_tasks(found: dict) -> list[str]:
    tasks = found["tasks"].items()
    return [f"{key} is still {task['status']}" for key, task in tasks if task["status"] in ("queued", "started")]


def wrong_events(run: Run, found: dict) -> list[str]:
    """One event for each transition, parents before children (core 7)."""
    names = [name for name, _ in found["events"]]
    ends = {f"run:{found['run']['status']}"}
    for slug, state in found["steps"].items():
        if state["status"] in ("completed", "failed", "skipped"):
            ends.add(f"step:{slug}:{state['status']}")
    lines = [f"events: {name} is missing" for name in ends if name not in names]
    lines += [f"events: {name} more than once" for name in set(names) if names.count(name) > 1]
    if names[0] != "run:started":
        lines.append(f"events: {names}")
    return lines + event_disorder(run.flow, names)
