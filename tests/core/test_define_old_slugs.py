"""Slugs of before the strict rule: rows that have one are left and go on; new ones are refused (generations SU-9).

Such rows come from a schema that was adopted, whose constraints hold for new rows only.
"""

import json

import pytest

from .ask import column, refusal, rows, value
from .test_define_shapes import shape, step

OLD = shape(step("_a"), step("b__c", "_a"))


@pytest.fixture
def old(db):
    """Flow _old with steps _a and b__c."""
    db.execute("alter table pgflow.flows drop constraint slug_is_valid")
    db.execute("alter table pgflow.steps drop constraint steps_step_slug_check")
    db.execute("insert into pgflow.flows (flow_slug) values ('_old')")
    db.execute("select pgmq.create('_old')")
    for index, (slug, deps) in enumerate((("_a", 0), ("b__c", 1))):
        db.execute(
            "insert into pgflow.steps (flow_slug, step_slug, step_index, deps_count) values ('_old', %s, %s, %s)",
            [slug, index, deps],
        )
    db.execute("insert into pgflow.deps (flow_slug, dep_slug, step_slug) values ('_old', '_a', 'b__c')")
    for table, name, slug in (("flows", "slug_is_valid", "flow_slug"), ("steps", "steps_step_slug_check", "step_slug")):
        check = f"check (pgflow.is_valid_slug({slug}))"
        db.execute(f"alter table pgflow.{table} add constraint {name} {check} not valid")
    return db


FORMS = {
    "two arguments": "%s::jsonb",
    "three arguments": "%s::jsonb, false",
    "four arguments": "%s::jsonb, 'flow', null",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_its_workers_start(old, form):
    """generations SU-9: what is there is verified; R-3, R-5 are for what would be made."""
    found = value(old, f"select pgflow.ensure_flow_compiled('_old', {form})", json.dumps(OLD))
    assert (found["status"], found["differences"]) == ("verified", [])


def test_a_difference_is_told(old):
    found = value(old, "select pgflow.ensure_flow_compiled('_old', %s::jsonb)", json.dumps(shape(step("_a"))))
    assert found["status"] == "mismatch"
    assert "Step count differs: 1 vs 2" in found["differences"]


def test_a_new_step_with_such_a_slug_is_refused(old):
    more = json.dumps(shape(step("_a"), step("_b")))
    assert refusal(old, "select pgflow.ensure_flow_compiled('_old', %s::jsonb)", more) == (
        "P0001",
        'Step slug "_b" in flow "_old" is not valid.',
    )


def test_step_queues_need_the_strict_rule_all_the_same(old):
    """generations QN-5."""
    call = "select pgflow.ensure_flow_compiled('_old', %s::jsonb, 'step')"
    assert refusal(old, call, json.dumps(OLD)) == ("P0001", 'Flow slug "_old" is not valid.')


def test_the_calls_that_define_it_find_it(old):
    """core 3.4.1, 3.5: an existing flow or step is returned as it is."""
    assert value(old, "select flow_slug from pgflow.create_flow('_old')") == "_old"
    assert rows(old, "select step_slug, queue_name from pgflow.add_step('_old', 'b__c', array['_a'])") == [
        ("b__c", "_old")
    ]


def test_a_run_goes_to_its_end(old):
    run = value(old, "select run_id from pgflow.start_flow('_old', '{}')")
    old.execute("insert into pgflow.workers (worker_id, queue_name, function_name) values (%s, '_old', 'w')", [run])
    for step_slug in ("_a", "b__c"):
        ids = column(old, "select msg_id from pgmq.read('_old', 1, 10)")
        assert column(old, "select step_slug from pgflow.start_tasks('_old', %s, %s)", ids, run) == [step_slug]
        old.execute("select pgflow.complete_task(%s, %s, 0, '1')", [run, step_slug])
    assert value(old, "select output from pgflow.runs") == {"b__c": 1}


def test_it_can_be_deleted(old):
    old.execute("select pgflow.delete_flow_and_data('_old')")
    assert column(old, "select flow_slug from pgflow.flows") == []


def test_another_flow_with_such_a_slug_is_refused(old):
    assert refusal(old, "select pgflow.create_flow('_new')")[0] == "23514"
    assert refusal(old, "select pgflow.add_step('_old', 'x__y')")[0] == "23514"
