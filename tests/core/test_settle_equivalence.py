"""A batch does what the same outcomes do one at a time. Rules: design rule 2; C-1; decision D-6.

Two runs of one random flow get the same outcomes: one in batches of everything that was claimed, the other through
the contract's functions, one task a call, in the order that `_settle_tasks` promises. After every round all their rows
and events are equal.
"""

import json
import random

import pytest

from .ask import rows
from .machine import Failure, map_of, single

STATE = (
    "select s.step_slug, s.status, s.remaining_tasks, s.initial_tasks, s.remaining_deps, s.output, s.error_message, "
    "s.skip_reason from pgflow.step_states as s where run_id = %s order by 1"
)
TASKS = (
    "select step_slug, task_index, status, attempts_count, error_message, output, started_at is null, "
    "completed_at is null, failed_at is null from pgflow.step_tasks where run_id = %s order by 1, 2"
)
MESSAGES = (
    "select message ->> 'step_slug', message ->> 'task_index' from pgmq.q_f "
    "where message ->> 'run_id' = %s::text order by 1, 2"
)


def random_flow(machine, rng):
    """Four to eight steps; every kind of step, condition and policy may occur."""
    steps = {}
    for n in range(rng.randint(4, 8)):
        earlier = list(steps)
        options = {"base_delay": 0, "max_attempts": rng.randint(1, 2)}
        options["when_exhausted"] = rng.choice(["fail", "skip", "skip", "skip-cascade"])
        deps = rng.sample(earlier, min(len(earlier), rng.choice([0, 1, 1, 2])))
        if rng.random() < 0.35:
            options |= {"when_unmet": rng.choice(["fail", "skip", "skip", "skip-cascade"])}
            options["when" if rng.random() < 0.6 else "unless"] = {
                rng.choice([*deps, "x"]): rng.choice([1, {}, [1], []])
            }
        if deps and rng.random() < 0.4:
            steps[f"s{n}"] = map_of(deps[0], **options)
        else:
            steps[f"s{n}"] = single(*deps, **options)
    machine.flow("f", **steps)
    return steps


def outcome(task, seed):
    """The same for the same task and attempt, in whichever run."""
    rng = random.Random(f"{seed} {task.step} {task.index} {task.attempt}")
    if rng.random() < 0.25:
        return Failure(f"{task.step} {task.index} {task.attempt}")
    return rng.choice([[1], [1, 2, 3], [], {"s0": 1}, 1, [1], [2, 1], None])


def violates(machine, task, result):
    """Whether the output should have been an array for a map child that waits for its size."""
    sql = (
        "select 1 from pgflow.deps as d "
        "join pgflow.steps as c on (c.flow_slug, c.step_slug) = (d.flow_slug, d.step_slug) "
        "join pgflow.steps as p on (p.flow_slug, p.step_slug) = (d.flow_slug, d.dep_slug) "
        "join pgflow.step_states as s on s.run_id = %s and s.step_slug = d.step_slug "
        "where d.dep_slug = %s and c.step_type = 'map' and p.step_type = 'single' and s.initial_tasks is null"
    )
    return not isinstance(result, list) and bool(rows(machine.conn, sql, task.run, task.step))


def one_by_one(machine, outcomes, steps):
    """Completions, then those of the wrong type, then failures to be retried, then the others."""

    def turn(pair):
        task, result = pair
        if isinstance(result, Failure):
            return 2 if task.attempt < steps[task.step]["max_attempts"] else 3
        return 1 if violates(machine, task, result) else 0

    for task, result in sorted(outcomes, key=turn):
        if isinstance(result, Failure):
            machine.fail(task.run, task.step, result.error, index=task.index)
        else:
            machine.complete(task.run, task.step, result, index=task.index)


def look(machine, run):
    return [machine.run(run), *(rows(machine.conn, sql, run) for sql in (STATE, TASKS, MESSAGES))]


@pytest.mark.parametrize("seed", range(40))
def test_a_batch_equals_its_outcomes_one_at_a_time(recorded, seed):
    rng = random.Random(seed)
    steps = random_flow(recorded, rng)
    batch, single_file = recorded.start_many("f", [{"x": rng.choice([1, 2])}] * 2)
    for _ in range(60):
        claims = [recorded.claim("f", 1000, only=[run]) for run in (batch, single_file)]
        due = [sorted((t.step, t.index, t.attempt, json.dumps(t.input)) for t in claimed) for claimed in claims]
        assert due[0] == due[1]
        if not claims[0]:
            break
        order = {step: rng.random() for step in steps}
        for claimed in claims:
            claimed.sort(key=lambda task: (order[task.step], task.index))
        recorded.settle([(task, outcome(task, seed)) for task in claims[0]])
        one_by_one(recorded, [(task, outcome(task, seed)) for task in claims[1]], steps)
        assert look(recorded, batch) == look(recorded, single_file)
    assert recorded.status(batch) in ("completed", "failed")
    assert sorted(recorded.event_names(batch)) == sorted(recorded.event_names(single_file))
    assert recorded.event_names(batch)[-1] == recorded.event_names(single_file)[-1]
