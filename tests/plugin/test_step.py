"""flow_runner.step: one handler alone."""

from __future__ import annotations

import traceback

import pytest

from pgflow_mp import Flow, map_step, step
from pgflow_mp.errors import InvalidInput, OutputError, StepNotFound


class Order(Flow):
    @step
    def validate(flow_input):
        return {"amount": flow_input["amount"]}

    @step
    def charge(validate, ctx):
        return [validate["amount"], ctx.attempt, ctx.step_slug, ctx.timeout]

    @map_step
    def each(item):
        return item * 2

    @step(when={"validate": {"vip": True}}, timeout=7)
    def gift(validate):
        return "gift"

    @step
    def end(charge, gift=None):
        return gift

    @step
    async def later(validate):
        return validate

    @step
    def bad(validate):
        return {1, 2}

    @step
    def broken(validate):
        raise KeyError("inside")


def test_a_root_step_gets_the_input_of_the_run(flow_runner):
    assert flow_runner.step(Order, "validate", flow_input={"amount": 3}) == {"amount": 3}


def test_a_step_gets_the_outputs_of_its_parents_and_a_context(flow_runner):
    assert flow_runner.step(Order, "charge", validate={"amount": 3}) == [3, 1, "charge", 60]
    assert flow_runner.step(Order, "charge", validate={"amount": 3}, ctx={"attempt": 2}) == [3, 2, "charge", 60]


def test_a_map_step_gets_one_element(flow_runner):
    assert flow_runner.step(Order, "each", item=4) == 8
    assert flow_runner.step(Order, "each", item="ab") == "abab"


def test_a_parent_that_is_left_out_was_skipped(flow_runner):
    assert flow_runner.step(Order, "end", charge=1) is None
    assert flow_runner.step(Order, "end", charge=1, gift="g") == "g"


def test_an_async_handler_is_awaited(flow_runner):
    assert flow_runner.step(Order, "later", validate=1) == 1


def test_values_take_the_way_through_json(flow_runner):
    assert flow_runner.step(Order, "later", validate=(1, 2)) == [1, 2]
    with pytest.raises(InvalidInput):
        flow_runner.step(Order, "later", validate={1, 2})
    with pytest.raises(OutputError):
        flow_runner.step(Order, "bad", validate=1)


def test_what_the_handler_raises_comes_out_as_it_is(flow_runner):
    with pytest.raises(KeyError, match="inside") as raised:
        flow_runner.step(Order, "broken", validate=1)
    assert traceback.extract_tb(raised.value.__traceback__)[-1].name == "broken"


@pytest.mark.parametrize(
    ("slug", "values", "sentence"),
    [
        ("charge", {}, "needs the output of `validate`"),
        ("charge", {"validat": 1}, "does not depend on `validat` (did you mean `validate`?); it depends on validate"),
        ("each", {}, "is a map step: give the element of one task as item=..."),
        ("charge", {"item": 1, "validate": 1}, "is no map step, so it has no item"),
        ("charge", {"validate": 1, "ctx": {"atempt": 1}}, "ctx has no 'atempt' (did you mean `attempt`?)"),
    ],
)
def test_values_that_do_not_fit_the_step_are_refused_in_words(flow_runner, slug, values, sentence):
    with pytest.raises(InvalidInput) as refused:
        flow_runner.step(Order, slug, **values)
    assert sentence in str(refused.value)


def test_an_unknown_step_names_the_known_ones(flow_runner):
    with pytest.raises(StepNotFound, match="did you mean `charge`"):
        flow_runner.step(Order, "chrge")
