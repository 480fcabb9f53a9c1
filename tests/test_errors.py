"""Errors: sentences with facts, catchable as what they are, whole after pickling."""

from __future__ import annotations

import pickle
from uuid import uuid4

import pytest

from pgflow_mp import errors
from pgflow_mp.results import Run

RUN = Run.from_row({"run_id": str(uuid4()), "flow_slug": "order", "status": "failed"})
ALL = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.PgflowError)]
WITH_FACTS = {
    errors.ShapeMismatch: errors.ShapeMismatch("order", ["Step count differs: 1 vs 2"]),
    errors.RunFailed: errors.RunFailed(RUN),
    errors.RunTimeout: errors.RunTimeout(RUN.run_id),
    errors.ServerUnavailable: errors.ServerUnavailable([("embedded", "not installed"), ("system", "no initdb")]),
}


@pytest.mark.parametrize("cls", ALL)
def test_every_error_has_a_sentence_of_its_own_without_being_given_one(cls):
    error = WITH_FACTS.get(cls) or cls()

    assert len(str(error)) > 20
    assert "\n\n" not in str(error)


@pytest.mark.parametrize("cls", ALL)
def test_every_error_survives_pickling_with_its_facts(cls):
    error = WITH_FACTS.get(cls) or cls("said so")

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is cls
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_a_given_message_is_the_text_even_of_a_key_error():
    assert str(errors.StepNotFound("there is no step `x`")) == "there is no step `x`"


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.DefinitionError(), TypeError),
        (errors.FlowNotFound(), LookupError),
        (errors.RunNotFound(), LookupError),
        (errors.StepNotFound(), KeyError),
        (errors.InvalidRunId(), ValueError),
        (errors.InvalidInput(), ValueError),
        (errors.OutputError(), ValueError),
        (errors.RunTimeout(RUN.run_id), TimeoutError),
        (errors.DatabaseUnreachable(), ConnectionError),
        (errors.InvalidDsn(), ValueError),
    ],
)
def test_an_error_is_also_the_built_in_that_says_the_same(error, builtin):
    assert isinstance(error, builtin)
    assert isinstance(error, errors.PgflowError)


def test_a_shape_mismatch_lists_the_differences_and_says_what_to_do():
    error = errors.ShapeMismatch("order", ["Step count differs: 1 vs 2", "Step at index 1: ..."])

    assert error.differences == ("Step count differs: 1 vs 2", "Step at index 1: ...")
    assert "`order`" in str(error)
    assert "\n  - Step count differs: 1 vs 2\n  - Step at index 1" in str(error)
    assert "new slug" in str(error)
    assert "`pgflow-mp compile --recompile MODULE`" in str(error)


def test_a_failed_run_names_flow_run_and_reason():
    run = Run.from_details(
        {
            "run": {"run_id": str(uuid4()), "flow_slug": "order", "status": "failed"},
            "steps": [{"step_slug": "charge", "status": "failed", "error_message": "ValueError: no money"}],
        }
    )

    assert str(errors.RunFailed(run)) == f"run {run.run_id} of flow `order` failed: ValueError: no money"


def test_an_unavailable_server_lists_what_was_tried_and_why_each_failed():
    assert str(WITH_FACTS[errors.ServerUnavailable]).endswith("\n  - embedded: not installed\n  - system: no initdb")
