"""Results: rows of the database become values that answer plain questions."""

from __future__ import annotations

import dataclasses
import pickle
from datetime import UTC, datetime
from uuid import UUID

import pytest

from pgflow_mp import Run, StepNotFound, StepState, StepTask

RUN_ID = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"


def at(second: int) -> str:
    return f"2026-11-23T09:05:{second:02}.5+01:00"


DETAILS = {
    "run": {
        "run_id": RUN_ID,
        "flow_slug": "process_order",
        "status": "failed",
        "input": {"id": 1},
        "output": None,
        "remaining_steps": 2,
        "started_at": at(0),
        "completed_at": None,
        "failed_at": at(9),
        "a_column_of_a_later_generation": 1,
    },
    "steps": [
        {"step_slug": "zeta", "step_index": 0, "status": "completed", "output": {"ok": True},
         "started_at": at(1), "completed_at": at(3)},
        {"step_slug": "each", "step_index": 2, "status": "failed", "started_at": at(3), "failed_at": at(9)},
        {"step_slug": "charge", "step_index": 1, "status": "failed", "failed_at": at(8),
         "error_message": "ValueError: no money\nTraceback ...", "remaining_tasks": 1},
        {"step_slug": "invoice", "step_index": 3, "status": "skipped", "skip_reason": "condition_unmet",
         "skipped_at": at(4)},
    ],
    "tasks": [
        {"step_slug": "each", "task_index": 2, "status": "cancelled", "attempts_count": 1},
        {"step_slug": "each", "task_index": 0, "status": "completed", "attempts_count": 1, "output": 5,
         "started_at": at(3), "completed_at": at(4), "last_worker_id": RUN_ID},
        {"step_slug": "each", "task_index": 1, "status": "failed", "attempts_count": 3, "error_message": "KeyError: 1"},
        {"step_slug": "charge", "task_index": 0, "status": "failed", "attempts_count": 2, "error_message": "task's"},
    ],
}  # fmt: skip


@pytest.fixture
def run():
    return Run.from_details(DETAILS)


def test_a_run_has_the_values_of_its_row(run):
    assert run.run_id == UUID(RUN_ID)
    assert (run.flow_slug, run.status, run.input, run.output) == ("process_order", "failed", {"id": 1}, None)
    assert (run.failed, run.completed, run.ended) == (True, False, True)
    assert run.started_at == datetime(2026, 11, 23, 8, 5, 0, 500_000, UTC)
    assert run.completed_at is None
    assert run.seconds == 9.0
    assert run.remaining_steps == 2


def test_steps_are_in_definition_order(run):
    assert list(run.steps) == ["zeta", "charge", "each", "invoice"]
    assert [step.status for step in run.steps.values()] == ["completed", "failed", "failed", "skipped"]


def test_without_an_index_steps_are_in_the_order_of_their_start():
    steps = [
        {"step_slug": "never", "status": "created"},
        {"step_slug": "second", "status": "started", "started_at": at(2)},
        {"step_slug": "first", "status": "started", "started_at": at(1)},
    ]

    assert list(Run.from_details({**DETAILS, "steps": steps, "tasks": None}).steps) == ["first", "second", "never"]


def test_a_step_answers_plain_questions(run):
    zeta, charge, each, invoice = run.steps.values()

    assert (zeta.completed, zeta.output, zeta.seconds, zeta.attempts, zeta.tasks) == (True, {"ok": True}, 2.0, 0, ())
    assert (charge.failed, charge.attempts, charge.remaining_tasks) == (True, 2, 1)
    assert (invoice.skipped, invoice.skip_reason, invoice.error) == (True, "condition_unmet", None)
    assert each.attempts == 3


def test_tasks_are_in_the_order_of_their_elements(run):
    tasks = run.steps["each"].tasks

    assert [task.status for task in tasks] == ["completed", "failed", "cancelled"]
    assert tasks[0] == StepTask(
        task_index=0,
        status="completed",
        attempts=1,
        output=5,
        started_at=datetime(2026, 11, 23, 8, 5, 3, 500_000, UTC),
        completed_at=datetime(2026, 11, 23, 8, 5, 4, 500_000, UTC),
        worker_id=UUID(RUN_ID),
    )
    assert (tasks[0].completed, tasks[1].failed, tasks[0].seconds, tasks[1].seconds) == (True, True, 1.0, None)


def test_the_error_of_a_step_is_its_own_else_that_of_its_first_failed_task(run):
    assert run.steps["charge"].error.startswith("ValueError: no money")
    assert run.steps["each"].error == "KeyError: 1"


def test_the_error_of_a_run_is_that_of_the_step_that_failed_first(run):
    assert run.failed_step.slug == "charge"
    assert run.error == "ValueError: no money\nTraceback ..."


def test_a_run_without_failures_has_no_error():
    run = Run.from_row({"run_id": RUN_ID, "flow_slug": "a", "status": "completed", "output": {"x": 0}})

    assert (run.error, run.failed_step, run.completed, run.output, run.seconds) == (None, None, True, {"x": 0}, None)


def test_an_unknown_step_lists_those_there_are(run):
    with pytest.raises(StepNotFound, match=r"`process_order` has no step 'chrage' \(did you mean `charge`\?\); its st"):
        run.steps["chrage"]
    assert run.steps.get("chrage") is None
    assert "chrage" not in run.steps
    assert len(run.steps) == 4


def test_a_run_read_without_its_steps_says_so():
    with pytest.raises(StepNotFound, match="its steps are not known: the run was read without its steps"):
        Run.from_row(DETAILS["run"]).steps["charge"]


def test_a_person_can_read_it(run):
    assert repr(run) == (
        f"<Run process_order {RUN_ID} failed: zeta completed, charge failed (2 attempts), "
        "each failed (3 tasks, 3 attempts), invoice skipped (condition_unmet); ValueError: no money>"
    )
    assert repr(run.steps["each"]) == "<StepState each failed (3 tasks, 3 attempts); KeyError: 1>"
    assert repr(run.steps).startswith("<Steps zeta completed, charge failed")
    assert repr(StepState(slug="a", status="created")) == "<StepState a created>"


def test_rows_with_values_of_the_driver_are_read_as_well():
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    run = Run.from_row({"run_id": UUID(RUN_ID), "flow_slug": "a", "status": "started", "started_at": moment})

    assert (run.run_id, run.started_at, run.ended) == (UUID(RUN_ID), moment, False)


def test_results_cannot_change_compare_and_travel(run):
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.status = "completed"
    assert pickle.loads(pickle.dumps(run)) == run
    assert Run.from_details(DETAILS) == run
    assert Run.from_row(DETAILS["run"]) != run
