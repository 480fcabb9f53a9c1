"""Options that only a worker knows: where a step runs, how much of the worker it takes, what is tried again."""

from __future__ import annotations

import functools
import uuid

import cloudpickle
import pytest

from pgflow_mp import DefinitionError, Flow, FlowDefinition, NonRetryable, map_step, step
from pgflow_mp.context import Context
from pgflow_mp.executors.perform import perform
from pgflow_mp.flow import as_definition


class Plain(Flow):
    @step
    def first():
        return 1

    @step
    def second(first):
        return first


class Tuned(Flow, slug="plain", executor="thread", retry_on=OSError):
    @step(executor="process", processes=2, concurrency=3, retry_on=(ValueError, KeyError))
    def first():
        return 1

    @step
    def second(first):
        return first


def flow_with(**options):
    return FlowDefinition.from_data("order", [{"slug": "a", "handler": lambda: 1, **options}])


def steps_of(flow):
    return {step.slug: step for step in as_definition(flow).steps}


def test_they_are_carried_by_the_definition():
    first = steps_of(Tuned)["first"]
    assert (first.executor, first.processes, first.concurrency) == ("process", 2, 3)
    assert first.retry_on == (ValueError, KeyError)


def test_they_are_no_part_of_the_shape_and_do_not_count_in_comparisons():
    assert Tuned.definition.shape() == Plain.definition.shape()
    assert Tuned.definition == Plain.definition


def test_a_flow_gives_executor_and_retry_on_to_steps_that_do_not_say():
    second = steps_of(Tuned)["second"]
    assert (second.executor, second.retry_on) == ("thread", (OSError,))
    from_data = FlowDefinition.from_data(
        "order", [{"slug": "a"}, {"slug": "b", "executor": "inline"}], executor="thread", retry_on=[OSError]
    )
    assert [each.executor for each in from_data.steps] == ["thread", "inline"]
    assert from_data.steps[0].retry_on == (OSError,)


def test_a_subclass_inherits_them():
    class More(Tuned):
        @step
        def third(second):
            return second

    assert steps_of(More)["third"].executor == "thread"


def test_a_def_runs_in_a_process_and_an_async_def_in_an_event_loop():
    async def wait(): ...

    class Callable:
        async def __call__(self): ...

    @functools.wraps(wait)
    def decorated(*args, **kwargs):
        return wait(*args, **kwargs)

    assert flow_with().steps[0].runs_in == "process"
    for handler in (wait, functools.partial(wait), Callable(), decorated):
        assert flow_with(handler=handler).steps[0].runs_in == "async"
    assert flow_with(handler=wait, executor="process").steps[0].runs_in == "process"


def test_they_survive_the_way_to_a_child():
    assert cloudpickle.loads(cloudpickle.dumps(steps_of(Tuned)["first"])).retry_on == (ValueError, KeyError)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"executor": "threads"}, "step `a`: executor must be one of 'process', 'async', 'thread', 'inline', not 'thr"),
        ({"executor": "proces"}, "(did you mean `process`?)"),
        ({"executor": "async"}, "executor='async' runs `async def` handlers, and this one is a plain function"),
        ({"processes": 0}, "processes must be at least 1"),
        ({"processes": "2"}, "processes must be a whole number, not '2'"),
        ({"processes": 2, "executor": "thread"}, "but this step runs with executor='thread'"),
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"concurrency": True}, "concurrency must be a whole number, not True"),
        ({"retry_on": "ValueError"}, "retry_on takes an exception class or a tuple of them, not 'ValueError'"),
        ({"retry_on": (ValueError, 3)}, "retry_on takes an exception class or a tuple of them, not 3"),
        ({"retry_on": int}, "retry_on takes an exception class or a tuple of them, not <class 'int'>"),
    ],
)
def test_a_wrong_value_is_told_in_a_sentence(options, sentence):
    with pytest.raises(DefinitionError) as error:
        flow_with(**options)
    assert sentence in str(error.value)
    assert str(error.value).startswith("flow `order`, step `a`: ")


def test_a_decorator_and_a_class_keyword_are_checked_alike():
    with pytest.raises(DefinitionError, match="class Wrong, step `a`: executor must be one of"):

        class Wrong(Flow):
            a = map_step(executor="fork")(lambda item: item)

    with pytest.raises(DefinitionError, match="class Many: there is no option `processes`"):

        class Many(Flow, processes=2):
            @step
            def a(): ...


# ---- what is tried again ---------------------------------------------------------------------


def retryable_after(error, **options):
    def handler():
        raise error

    definition = flow_with(handler=handler, **options).steps[0]
    ctx = Context.begin(flow_slug="order", run_id=uuid.uuid4(), step_slug="a")
    return perform(definition, ctx, b"{}", None).retryable


@pytest.mark.parametrize(
    ("retry_on", "error", "again"),
    [
        (None, ValueError(), True),
        (None, NonRetryable(), False),
        (OSError, ConnectionResetError(), True),
        (OSError, ValueError(), False),
        ((OSError, ValueError), ValueError(), True),
        ((), ValueError(), False),
        (Exception, NonRetryable("no"), False),
        (OSError, ExceptionGroup("both", [OSError(), TimeoutError()]), True),
        (OSError, ExceptionGroup("one", [OSError(), ValueError()]), False),
        (ExceptionGroup, ExceptionGroup("any", [ValueError()]), True),
        (None, ExceptionGroup("inner", [ExceptionGroup("x", [NonRetryable()])]), False),
    ],
)
def test_retry_on_says_what_is_tried_again(retry_on, error, again):
    assert retryable_after(error, retry_on=retry_on) is again


def test_an_output_that_is_no_json_goes_by_policy_whatever_retry_on_says():
    definition = flow_with(handler=lambda: {1, 2}, retry_on=OSError).steps[0]
    ctx = Context.begin(flow_slug="order", run_id=uuid.uuid4(), step_slug="a")
    verdict = perform(definition, ctx, b"{}", None)
    assert (verdict.reason, verdict.retryable) == ("output", True)
