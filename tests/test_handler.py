"""Handlers: values are bound by name, errors are told from the user's code on."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import threading
import time
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgflow_mp import Context, DefinitionError, Flow, FlowDefinition, InvalidInput, map_step, step
from pgflow_mp.handler import MAX_ERROR_TEXT, bind, call, error_text, wants_flow_input

CTX = Context.begin(flow_slug="order", run_id=uuid4(), step_slug="charge")


class Order(Flow):
    @step
    def validate(flow_input, ctx):
        return [flow_input, ctx.flow_slug]

    @step
    def bare():
        return "bare"

    @step(when={"validate": {}})
    def risk(validate):
        return validate

    @step(depends_on=["bare"])
    def charge(validate, *, risk="none", flow_input):
        return {"validate": validate, "risk": risk, "flow_input": flow_input}

    @map_step(over=validate)
    def each(item, ctx, flow_input=None):
        return [item, ctx.task_index, flow_input]

    @step
    async def later(charge):
        await asyncio.sleep(0)
        return charge


def run(slug, input, flow_input=None, ctx=CTX):  # noqa: A002
    return call(Order.definition.step(slug), input, flow_input, ctx)


# ---- binding -----------------------------------------------------------------------------------


def test_a_root_step_gets_the_flows_input():
    assert run("validate", {}, {"id": 1}) == [{"id": 1}, "order"]


def test_a_step_without_parameters_gets_nothing():
    assert run("bare", {}, {"id": 1}) == "bare"


def test_a_dependent_step_gets_outputs_by_name_and_not_those_it_only_waits_for():
    values = bind(Order.definition.step("charge"), {"validate": 1, "risk": 2, "bare": 3}, {"f": 1}, CTX)

    assert values == {"validate": 1, "risk": 2, "flow_input": {"f": 1}}


def test_a_skipped_dependency_arrives_as_its_default():
    assert run("charge", {"validate": 1, "bare": 3}, 7) == {"validate": 1, "risk": "none", "flow_input": 7}


def test_a_dependency_that_completed_with_null_is_none_not_its_default():
    assert run("charge", {"validate": None, "risk": None})["risk"] is None


@pytest.mark.parametrize("element", [None, 0, "x", [1], {"validate": 5}])
def test_a_map_step_gets_its_element_whatever_it_is(element):
    ctx = Context.begin(flow_slug="order", run_id=uuid4(), step_slug="each", task_index=4)

    assert run("each", element, ctx=ctx) == [element, 4, None]


def test_a_missing_output_without_default_says_what_there_was():
    with pytest.raises(InvalidInput, match="`charge` needs the output of `validate`, but its input has only bare;"):
        run("charge", {"bare": 1})
    with pytest.raises(InvalidInput, match="its input has only nothing"):
        run("charge", None)


def test_only_handlers_that_name_it_want_the_flows_input():
    wanting = [s.slug for s in Order.definition.steps if wants_flow_input(s)]

    assert wanting == ["validate", "charge", "each"]


def test_a_step_without_a_handler_cannot_be_called():
    flow = FlowDefinition.from_data("a", [{"slug": "only"}])

    with pytest.raises(DefinitionError, match="step `only` has no handler in this process"):
        call(flow.step("only"), {}, None, CTX)


# ---- async -------------------------------------------------------------------------------------


def test_an_async_handler_runs_to_its_end():
    assert run("later", {"charge": 5}) == 5


def test_an_async_handler_runs_also_within_a_running_loop():
    seen = contextvars.ContextVar("seen")

    async def handler():
        await asyncio.sleep(0)
        return seen.get(), threading.current_thread() is threading.main_thread()

    async def main():
        seen.set("carried over")
        return call(FlowDefinition.from_data("a", [{"slug": "h", "handler": handler}]).step("h"), {}, None, CTX)

    assert asyncio.run(main()) == ("carried over", False)


def test_callable_objects_and_partials_are_handlers():
    class Handler:
        async def __call__(self, flow_input):
            return flow_input

    def add(flow_input, amount):
        return flow_input + amount

    for handler, expected in ((Handler(), 1), (functools.partial(add, amount=2), None)):
        if expected is None:  # a bound keyword is still a parameter: name it away with a def
            with pytest.raises(DefinitionError, match="parameter `amount`"):
                FlowDefinition.from_data("a", [{"slug": "h", "handler": handler}])
        else:
            flow = FlowDefinition.from_data("a", [{"slug": "h", "handler": handler}])
            assert call(flow.step("h"), {}, 1, CTX) == expected


# ---- errors ------------------------------------------------------------------------------------


def failing(handler, **values):
    flow = FlowDefinition.from_data("a", [{"slug": "h", "handler": handler}])
    try:
        call(flow.step("h"), {}, values, CTX)
    except BaseException as error:
        error.__traceback__ = error.__traceback__.tb_next  # the frame of this test is not there in a worker
        return error, flow.step("h")
    raise AssertionError("it did not fail")


def inner():
    raise ValueError("no money")


def outer():
    inner()


async def outer_async():
    await asyncio.sleep(0)
    inner()


def decorated(function):
    @functools.wraps(function)
    def wrapper():
        return function()

    return wrapper


@pytest.mark.parametrize("handler", [outer, outer_async, decorated(outer)])
@pytest.mark.parametrize("knows_the_step", [True, False])
def test_the_text_starts_with_the_error_and_the_traceback_at_the_users_code(handler, knows_the_step):
    error, failed_step = failing(handler)

    lines = error_text(error, failed_step if knows_the_step else None).splitlines()
    frames = [line.split(" in ")[1] for line in lines if line.startswith("  File")]

    assert lines[0] == "ValueError: no money"
    assert lines[1] == "Traceback (most recent call last):"
    assert frames[-2:] == [failed_step.handler.__name__, "inner"]
    assert "pgflow_mp" not in lines[2]
    assert not any("asyncio" in line or "pgflow_mp/handler" in line for line in lines)
    assert lines[-1].strip().strip("^~").strip() in ("", 'raise ValueError("no money")')


def test_an_error_without_message_or_traceback_is_its_class():
    assert error_text(KeyError()) == "KeyError"
    assert error_text(SystemExit(3)) == "SystemExit: 3"
    assert error_text(KeyError("x")) == "KeyError: 'x'"


def test_an_error_of_ours_has_no_frames():
    error, failed_step = failing_to_bind()

    assert error_text(error, failed_step).splitlines() == [str(f"InvalidInput: {error}")]


def failing_to_bind():
    charge = Order.definition.step("charge")
    try:
        bind(charge, {}, None, CTX)
    except InvalidInput as error:
        error.__traceback__ = error.__traceback__.tb_next  # the frame of this test is not there in a worker
        return error, charge


def test_causes_follow():
    def handler():
        try:
            inner()
        except ValueError as error:
            raise RuntimeError("cannot charge") from error

    text = error_text(*failing(handler))

    assert text.startswith("RuntimeError: cannot charge\nTraceback")
    assert "\nCaused by:\nTraceback" in text
    assert text.rstrip().endswith("ValueError: no money")


def test_what_was_being_handled_follows_unless_it_was_suppressed():
    def handler():
        try:
            inner()
        except ValueError:
            raise RuntimeError("again")  # noqa: B904  (that is the case tested)

    def suppressed():
        try:
            inner()
        except ValueError:
            raise RuntimeError("again") from None

    assert "\nRaised while handling:\nTraceback" in error_text(*failing(handler))
    assert "no money" not in error_text(*failing(suppressed))


def test_notes_and_members_of_a_group_are_told():
    def handler():
        error = ExceptionGroup("two", [ValueError("first"), KeyError("second")])
        error.add_note("while shipping")
        raise error

    text = error_text(*failing(handler))

    assert text.startswith("ExceptionGroup: two (2 sub-exceptions)\nwhile shipping\nTraceback")
    assert "Member 1 of the group:\nValueError: first" in text
    assert "Member 2 of the group:\nKeyError: 'second'" in text


def test_a_long_text_keeps_head_and_tail():
    def handler():
        raise ValueError("begin " + "x" * 100_000)

    text = error_text(*failing(handler))

    assert len(text) <= MAX_ERROR_TEXT
    assert text.startswith("ValueError: begin xxx")
    assert "characters left out" in text
    assert 'raise ValueError("begin " + "x" * 100_000)' in text[-300:]


def test_endless_recursion_is_told_shortly():
    def handler(depth=0):
        return handler(depth + 1)

    flow = Flow.__class__("Deep", (Flow,), {"only": step(lambda: handler())})
    with pytest.raises(RecursionError) as caught:
        call(flow.definition.step("only"), {}, None, CTX)
    text = error_text(caught.value, flow.definition.step("only"))

    assert text.startswith("RecursionError: maximum recursion depth exceeded")
    assert "Previous line repeated" in text
    assert len(text) <= MAX_ERROR_TEXT


class Hostile(Exception):
    __notes__ = 5

    def __str__(self):
        raise RuntimeError


def test_a_hostile_exception_is_told_all_the_same():
    def handler():
        raise Hostile

    assert error_text(*failing(handler)).startswith("Hostile: <its message cannot be shown>")


@given(st.text(st.characters(), max_size=60), st.integers(60, 400))
@settings(deadline=None)
def test_whatever_the_message_postgres_can_store_the_text(message, limit):
    text = error_text(ValueError(message * 9), limit=limit)

    assert "\x00" not in text
    assert text.encode("utf-8").decode("utf-8") == text
    assert len(text) <= limit


# ---- context -----------------------------------------------------------------------------------


def test_the_context_knows_how_much_time_is_left():
    before = time.monotonic()
    ctx = Context.begin(flow_slug="order", run_id=uuid4(), step_slug="a", attempt=2, timeout=5.0)

    assert before + 5 <= ctx.deadline <= time.monotonic() + 5
    assert 0 < ctx.remaining() <= 5
    assert ctx.attempt == 2
    assert Context.begin(flow_slug="o", run_id=uuid4(), step_slug="a", timeout=-1).remaining() == 0.0


def test_the_contexts_logger_says_which_task_it_was(caplog):
    ctx = Context.begin(flow_slug="order", run_id=uuid4(), step_slug="a", task_index=3)

    with caplog.at_level(logging.INFO):
        ctx.logger.info("page %d", 7)

    [record] = caplog.records
    assert record.name == "pgflow_mp.flow.order.a"
    assert record.getMessage() == "page 7"
    assert (record.run_id, record.task_index, record.attempt) == (ctx.run_id, 3, 1)
