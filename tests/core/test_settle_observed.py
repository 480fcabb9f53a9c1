"""What a settlement changed is told to the one who settled, and to nobody else. Decisions D-5, D-26."""

import json
from dataclasses import replace

import pytest

from .ask import rows, value
from .machine import Failure, map_of, single


def settle(machine, outcomes, *, delays=None, worker=None):
    """As `machine.settle`, observed: (task status, delay, error, transitions) of each."""
    tasks = [task for task, _ in outcomes]
    failures = [outcome if isinstance(outcome, Failure) else None for _, outcome in outcomes]
    return rows(
        machine.conn,
        "select applied, task_status, delay, error, transitions from pgflow_mp.settle_tasks_observed(%s::uuid[], "
        "%s::text[], %s::int[], %s::int[], %s::uuid[], %s::jsonb[], %s::text[], %s::boolean[], %s::float8[])",
        [task.run for task in tasks],
        [task.step for task in tasks],
        [task.index for task in tasks],
        [task.attempt for task in tasks],
        [worker or machine.worker] * len(tasks),
        [None if failed else json.dumps(outcome) for failed, (_, outcome) in zip(failures, outcomes, strict=True)],
        [failed.error if failed else None for failed in failures],
        [failed.retryable if failed else True for failed in failures],
        delays,
    )


def ended(transitions):
    """Steps as (slug, status), and the status of the run, if it ended."""
    steps = [(step["step"], step["status"]) for step in transitions.get("steps", [])]
    return steps, transitions.get("run", {}).get("status")


def test_a_completion_tells_the_steps_and_the_run_that_ended_with_it(machine):
    machine.flow("f", a=single(), no=single("a", when={"a": "never"}, when_unmet="skip"), b=single("a"))
    run = machine.start("f")
    ((_, status, delay, error, transitions),) = settle(machine, [(machine.claim("f")[0], 1)])
    assert (status, delay, error) == ("completed", None, None)
    assert ended(transitions) == ([("a", "completed"), ("no", "skipped")], None)
    assert transitions["steps"][1]["reason"] == "condition_unmet"
    ((*_, transitions),) = settle(machine, [(machine.claim("f")[0], 2)])
    assert ended(transitions) == ([("b", "completed")], "completed")
    times = rows(
        machine.conn, "select to_jsonb(started_at), to_jsonb(completed_at) from pgflow.runs where run_id = %s", run
    )
    assert [(transitions["run"]["started_at"], transitions["run"]["ended_at"])] == times


def test_of_a_batch_each_run_is_told_once_and_a_task_that_ends_nothing_says_so(machine):
    machine.flow("f", m=map_of())
    machine.start_many("f", [[1, 2, 3], [4]])
    tasks = sorted(machine.claim("f"), key=lambda task: (task.input == 4, task.index))
    *unfinished, other = [row[4] for row in settle(machine, [(tasks[0], 1), (tasks[1], 2), (tasks[3], 4)])]
    assert [ended(each) for each in unfinished if each is not None] == [([], None)]
    assert ended(other) == ([("m", "completed")], "completed")
    ((*_, last),) = settle(machine, [(tasks[2], 3)])
    assert ended(last) == ([("m", "completed")], "completed")


def test_a_repeated_settlement_is_told_the_same_and_only_who_ended_the_run_hears_of_it(machine):
    machine.flow("f", a=single(), b=single())
    machine.start("f")
    first, second = machine.claim("f")
    ((*_, before),) = settle(machine, [(first, 1)])
    ((*_, end),) = settle(machine, [(second, 2)])
    assert ended(end) == ([(second.step, "completed")], "completed")
    # The answer to the first was lost, and asked for again when the run had ended: that was another's work.
    assert settle(machine, [(first, 1)])[0][4] == before
    assert settle(machine, [(second, 2)])[0][4] == end


@pytest.mark.parametrize("outcome", [2, Failure("late")])
def test_a_late_outcome_is_told_nothing(machine, outcome):
    machine.flow("f", a=single())
    machine.start("f")
    (task,) = machine.claim("f")
    settle(machine, [(task, 1)])
    ((applied, *_, transitions),) = settle(machine, [(replace(task, attempt=2), outcome)])
    assert (applied, transitions) == (False, None)


def test_a_failure_tells_its_delay_or_what_it_ended(machine):
    machine.flow("f", a=single(max_attempts=2, base_delay=10))
    run = machine.start("f")
    ((_, status, delay, error, transitions),) = settle(machine, [(machine.claim("f")[0], Failure("no"))])
    assert (status, error, transitions) == ("queued", "no", None)
    assert delay == pytest.approx(20, abs=2)
    machine.skip_delays(run)
    ((_, status, delay, error, transitions),) = settle(machine, [(machine.claim("f")[0], Failure("never"))])
    assert (status, delay, error) == ("failed", None, "never")
    assert ended(transitions) == ([("a", "failed")], "failed")
    assert transitions["run"]["error"] == transitions["steps"][0]["error"] == "never"


def test_a_decided_delay_takes_the_place_of_the_steps_own(machine):
    """D-7, D-26: NULL leaves it to the step."""
    machine.flow("f", m=map_of(max_attempts=3, base_delay=10))
    machine.start("f", [1, 2])
    outcomes = [(task, Failure("no")) for task in sorted(machine.claim("f"), key=lambda task: task.index)]
    told = settle(machine, outcomes, delays=[300, None])
    assert [row[2] for row in told] == [pytest.approx(300, abs=2), pytest.approx(20, abs=2)]
    assert value(machine.conn, "select count(*) from pgmq.q_f where vt > now() + interval '290 seconds'") == 1


def test_an_output_of_the_wrong_type_tells_the_error_and_what_it_ended(machine):
    """core CT-4: the handler returned, and its task has failed all the same."""
    machine.flow("f", a=single(), m=map_of("a"))
    machine.start("f")
    ((applied, status, _, error, transitions),) = settle(machine, [(machine.claim("f")[0], "no array")])
    assert (applied, status) == (True, "failed")
    assert error.startswith("[TYPE_VIOLATION] ")
    assert ended(transitions) == ([("a", "failed")], "failed")


def test_one_outcome_that_is_refused_does_not_keep_the_others_from_being_told(machine):
    """D-6: the batch is applied one by one then."""
    machine.flow("f", a=single(), b=single())
    machine.start_many("f", [{}, {}])
    machine.conn.execute(
        "create function refuse() returns trigger language plpgsql as $$ begin "
        "raise exception sqlstate '22000' using message = 'not this one'; end $$; "
        "create trigger refuse before update on pgflow.step_tasks for each row "
        "when (new.output = '\"poison\"') execute function refuse()"
    )
    a, other = (task for task in machine.claim("f") if task.step == "a")
    told = settle(machine, [(a, "poison"), (other, 1)])
    assert [row[1] for row in told] == ["failed", "completed"]
    assert told[0][3] == "The outcome could not be stored: not this one"
    assert ended(told[0][4]) == ([("a", "failed")], "failed")
    assert ended(told[1][4]) == ([("a", "completed")], None)


def test_recovery_tells_which_attempts_have_failed_by_it(machine):
    """D-3: after three recoveries the step's policy decides; what is queued as it was is only counted."""
    machine.flow("f", a=single(max_attempts=1))
    run = machine.start("f")
    observed = (
        "select run_id, attempt, is_lost, task_status, error, transitions from pgflow_mp.recover_tasks_observed('15 s')"
    )
    for _ in range(3):
        machine.claim("f")
        machine.backdate(run, 1000)
        assert rows(machine.conn, observed) == [(None, None, None, "queued", None, None)]
    machine.conn.execute("update pgflow.step_tasks set attempts_count = 1")
    machine.claim("f")
    machine.backdate(run, 1000)
    ((run_id, _, is_lost, status, error, transitions),) = rows(machine.conn, observed)
    assert (run_id, is_lost, status) == (run, False, "failed")
    assert error.startswith("Task timed out after ")
    assert ended(transitions) == ([("a", "failed")], "failed")
