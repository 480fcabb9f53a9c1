"""What plugins do around a handler: decode, wrap, encode; around functions and coroutines alike."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from uuid import uuid4

import pytest

from pgflow_mp import Context, Flow, PluginError, map_step, step
from pgflow_mp.executors.perform import perform, perform_async
from pgflow_mp.hooks import ChildInfo, hookimpl
from pgflow_mp.hooks.handling import HandlerHooks, luggage, unpack
from pgflow_mp.hooks.manager import Plugins


@dataclass
class Invoice:
    total: int


class Both(Flow):
    @step
    def plain(flow_input):
        if flow_input == "fail":
            raise ValueError("no good")
        return flow_input

    @step
    async def awaited(flow_input):
        await asyncio.sleep(0)
        if flow_input == "fail":
            raise ValueError("no good")
        return flow_input

    @step
    def typed(flow_input) -> Invoice:
        return Invoice(flow_input)

    @map_step(over=plain)
    def element(item):
        return item

    @step
    def gather(plain, element):
        return [plain, *element]


def hooks(*given):
    return HandlerHooks.of(Plugins.load(given, installed=False))


def call(around, slug, task_input=b"{}", flow_input=b"null"):
    """Run a step as its executor would."""
    found = Both.definition.step(slug)
    ctx = Context.begin(flow_slug="both", run_id=uuid4(), step_slug=slug)
    if slug == "awaited":
        return asyncio.run(perform_async(found, ctx, task_input, flow_input, around))
    return perform(found, ctx, task_input, flow_input, around)


class Noting:
    def __init__(self, name, log):
        self.name, self.log = name, log

    @hookimpl(wrapper=True)
    def pgflow_call_handler(self, task):
        self.log.append(f"{self.name} before {task.step_slug}")
        try:
            result = yield
        except ValueError as error:
            self.log.append(f"{self.name} saw {error}")
            raise
        self.log.append(f"{self.name} after {result}")
        return result + 1


both_kinds = pytest.mark.parametrize("slug", ["plain", "awaited"])


@both_kinds
def test_wrappers_are_around_the_call_the_last_registered_outermost(slug):
    log = []
    verdict = call(hooks(Noting("inner", log), Noting("outer", log)), slug, flow_input=b"5")
    assert log == [f"outer before {slug}", f"inner before {slug}", "inner after 5", "outer after 6"]
    assert verdict.output == "7"


@both_kinds
def test_wrappers_see_what_the_handler_raises_and_may_make_another_end_of_it(slug):
    class Forgiving:
        @hookimpl(wrapper=True)
        def pgflow_call_handler(self, task):
            try:
                return (yield)
            except ValueError:
                return "never mind"

    log = []
    verdict = call(hooks(Noting("inner", log)), slug, flow_input=b'"fail"')
    assert verdict.error.startswith("ValueError: no good")
    assert log[-1] == "inner saw no good"
    assert call(hooks(Noting("inner", log), Forgiving()), slug, flow_input=b'"fail"').output == '"never mind"'


@both_kinds
def test_what_a_wrapper_raises_is_the_failure_of_the_attempt_and_seen_by_those_outside(slug):
    class Refusing:
        @hookimpl(wrapper=True)
        def pgflow_call_handler(self, task):
            raise ValueError("not today")
            yield

    log = []
    verdict = call(hooks(Refusing(), Noting("outer", log)), slug, flow_input=b"5")
    assert verdict.error.startswith("ValueError: not today")
    assert log == [f"outer before {slug}", "outer saw not today"]


@pytest.mark.parametrize(("times", "said"), [(0, "did not yield"), (2, "yielded twice")])
def test_a_wrapper_yields_once(times, said):
    class Odd:
        @hookimpl(wrapper=True)
        def pgflow_call_handler(self):
            for _ in range(times):
                yield

    assert f"PluginError: plugin `Odd`: pgflow_call_handler {said}" in call(hooks(Odd()), "plain").error


class Boxing:
    """Stores integers in a box, and takes them out again."""

    def pgflow_encode_payload(self, value):
        return {"box": value} if isinstance(value, int | dict) else None

    def pgflow_decode_payload(self, value):
        return value["box"] if isinstance(value, dict) and "box" in value else None


def test_outputs_are_encoded_and_inputs_decoded_wherever_they_come_from():
    around = hooks(Boxing())
    assert call(around, "plain", flow_input=b"5").output == '{"box": 5}'.replace(" ", "")
    assert call(around, "awaited", flow_input=b'{"box":5}').output == '{"box":5}'
    assert call(around, "element", b'{"box":3}').output == '{"box":3}'
    assert call(around, "gather", b'{"plain":{"box":1},"element":[{"box":2},3]}').output == "[1,2,3]"
    assert call(around, "plain", flow_input=b'"text"').output == '"text"'


def test_the_type_of_an_output_is_checked_before_it_is_encoded():
    assert call(hooks(Boxing()), "typed", flow_input=b"5").output == '{"box":{"total":5}}'


def test_what_encoding_raises_is_the_failure_of_the_attempt():
    class Full:
        def pgflow_encode_payload(self, value):
            raise OSError("the bucket is full")

    verdict = call(hooks(Full()), "plain", flow_input=b"5")
    assert verdict.error.startswith("OSError: the bucket is full")
    assert verdict.reason == "output"


class Counting:
    """An object that is no module's own: it crosses as a copy."""

    def __init__(self, start):
        self.start = start

    def pgflow_child_init(self, child):
        self.start += child.pid

    @hookimpl(wrapper=True)
    def pgflow_call_handler(self):
        return (yield) + self.start


def test_only_what_children_need_is_given_to_them_by_name_or_as_a_copy():
    class Observer:
        def pgflow_run_failed(self):
            pass

    counting = Counting(10)
    given = Plugins.load([Observer(), counting, "tests.hooks.test_handling:BOXING"], installed=False)
    packed = luggage(given)
    assert [(each["name"], sorted(each)) for each in packed] == [
        ("Counting", ["name", "pickle"]),
        ("tests.hooks.test_handling:BOXING", ["import", "name"]),
    ]
    around = unpack(packed)
    around.begin_child(ChildInfo(100, "process"))
    assert call(around, "plain", flow_input=b'{"box":1}').output == '{"box":111}'
    assert counting.start == 10


BOXING = Boxing()


def test_an_object_that_cannot_cross_says_so_and_what_to_do():
    class Holding(Counting):
        def __init__(self):
            super().__init__(0)
            self.lock = threading.Lock()

    with pytest.raises(PluginError) as error:
        luggage(Plugins.load([Holding()], installed=False))
    assert str(error.value).startswith(
        "plugin `Holding` has hooks that run in child processes (pgflow_child_init, pgflow_call_handler), "
        "and cannot get there: TypeError: "
    )
    assert "Give it as `module` or `module:attribute`" in str(error.value)


def test_without_such_hooks_a_handler_is_called_as_ever():
    class Observer:
        def pgflow_run_failed(self):
            pass

    assert hooks(Observer()) is None
    assert unpack([]) is None
