"""Flow classes: the body becomes a definition, and what is wrong is told at class creation."""

# ruff: noqa: F811  (a handler is its signature here; one test writes a step twice)

from __future__ import annotations

import subprocess
import sys

import cloudpickle
import pytest

from pgflow_mp import Context, DefinitionError, Flow, FlowDefinition, map_step, step
from pgflow_mp.flow import as_definition

# Without type checking in mind: handlers of a flow have no self.


class ProcessOrder(Flow, max_attempts=3, base_delay=1, timeout=60):
    """Validate, charge and fulfil one order."""

    @step
    def validate(flow_input):
        """Look at the order."""
        return {"checked": flow_input}

    @step(timeout=120, max_attempts=5)
    def charge(validate, ctx: Context):
        return {"country": "DE", "attempt": ctx.attempt}

    @map_step(over=validate)
    def reserve(item):
        return item

    @step(when={"charge": {"country": "DE"}}, when_unmet="skip", depends_on=["reserve"])
    async def invoice(charge):
        return charge

    @step
    def fulfil(charge, reserve, invoice=None):
        return [charge, reserve, invoice]


# ---- what a class becomes ----------------------------------------------------------------------


def test_a_class_is_a_definition():
    expected = FlowDefinition.from_data(
        "process_order",
        [
            {"slug": "validate"},
            {"slug": "charge", "deps": ["validate"], "timeout": 120, "max_attempts": 5},
            {"slug": "reserve", "deps": ["validate"], "step_type": "map"},
            {"slug": "invoice", "deps": ["charge", "reserve"], "when": {"charge": {"country": "DE"}}},
            {"slug": "fulfil", "deps": ["charge", "reserve", "invoice"]},
        ],
        max_attempts=3,
        base_delay=1,
        timeout=60,
    )

    assert ProcessOrder.definition == expected
    assert ProcessOrder.definition.description == "Validate, charge and fulfil one order."
    assert ProcessOrder.__doc__ == "Validate, charge and fulfil one order."


def test_options_that_are_not_written_are_not_set():
    class Plain(Flow):
        @step
        def only(): ...

    assert "options" not in Plain.definition.shape()
    assert "options" not in Plain.definition.shape()["steps"][0]


def test_a_definition_stands_for_itself_and_a_class_for_its_own():
    assert as_definition(ProcessOrder) is ProcessOrder.definition
    assert as_definition(ProcessOrder.definition) is ProcessOrder.definition
    with pytest.raises(DefinitionError, match="expected a Flow class or a FlowDefinition, not 'process_order'"):
        as_definition("process_order")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("ProcessOrder", "process_order"),
        ("HTTPSync", "http_sync"),
        ("SyncS3Files", "sync_s3_files"),
        ("OrderV2", "order_v2"),
        ("Order", "order"),
        ("order_flow", "order_flow"),
        ("Order_Flow", "order_flow"),
        ("ABTest", "ab_test"),
    ],
)
def test_the_slug_is_the_class_name_in_snake_case(name, slug):
    assert type(Flow)(name, (Flow,), {"only": step(lambda: 1)}).definition.slug == slug


def test_the_slug_can_be_said():
    class Order(Flow, slug="orderV2"):
        @step
        def only(): ...

    assert Order.definition.slug == "orderV2"


def test_the_source_names_a_class_that_others_can_import_and_nothing_else():
    class Local(Flow):
        @step
        def only(): ...

    assert ProcessOrder.definition.source == f"{__name__}:ProcessOrder"
    assert Outer.Inner.definition.source == f"{__name__}:Outer.Inner"
    assert Local.definition.source is None
    assert FlowDefinition.from_data("a", [{"slug": "a"}]).source is None


class Outer:
    class Inner(Flow):
        @step
        def only(): ...


def test_a_step_is_called_like_the_function_it_is():
    assert ProcessOrder.validate({"a": 1}) == {"checked": {"a": 1}}
    assert ProcessOrder.fulfil(1, reserve=[2]) == [1, [2], None]
    assert ProcessOrder.validate.__doc__ == "Look at the order."
    assert repr(ProcessOrder.reserve) == "<Step reserve (map)>"


def test_a_static_method_may_be_a_step():
    class Order(Flow):
        @step
        @staticmethod
        def only(flow_input):
            return flow_input

    assert Order.only(3) == 3
    assert Order.definition.step("only").handler(4) == 4


def test_functions_written_elsewhere_become_steps_under_the_name_they_get():
    def load(flow_input):
        return flow_input

    class Order(Flow):
        first = step(load)
        second = step(depends_on=[first])(load)

    assert [s.slug for s in Order.definition.steps] == ["first", "second"]
    assert Order.definition.step("second").deps == ("first",)


def test_plain_functions_and_values_of_the_class_are_no_steps():
    class Order(Flow):
        limit = 3

        def helper(x):
            return x * Order.limit

        @step
        def only(flow_input):
            return Order.helper(flow_input)

    assert [s.slug for s in Order.definition.steps] == ["only"]
    assert Order.only(2) == 6


def test_steps_are_named_by_object_or_name_in_over_and_depends_on():
    class Order(Flow):
        @step
        def a(): ...

        @step
        def b(): ...

        @map_step(over="a")
        def m(item): ...

        @step(depends_on=[b, "m"])
        def last(a): ...

    assert Order.definition.step("m").deps == ("a",)
    assert Order.definition.step("last").deps == ("a", "b", "m")


def test_a_map_step_without_over_maps_the_flows_input():
    class Order(Flow):
        @map_step
        def first(item, flow_input, ctx): ...

        @map_step(timeout=5)
        def second(item): ...

    assert Order.definition.step("first").is_root
    assert Order.definition.step("second").is_map
    assert Order.definition.step("second").timeout == 5


def test_a_dependency_that_is_waited_for_may_also_be_taken():
    class Order(Flow):
        @step
        def a(): ...

        @step(depends_on=[a])
        def b(a): ...

    assert Order.definition.step("b").deps == ("a",)


def test_a_flow_is_shown_with_its_slug():
    assert repr(ProcessOrder) == "<flow ProcessOrder (process_order)>"
    assert "Flow" in repr(Flow)


# ---- inheritance -------------------------------------------------------------------------------


def test_a_subclass_inherits_steps_and_options_and_has_a_slug_of_its_own():
    class Careful(ProcessOrder, timeout=600):
        @step(max_attempts=9)
        def charge(validate): ...

        @step
        def notify(fulfil): ...

    careful, base = Careful.definition, ProcessOrder.definition
    assert careful.slug == "careful"
    assert [s.slug for s in careful.steps] == [*[s.slug for s in base.steps], "notify"]
    assert careful.step("charge").max_attempts == 9
    assert careful.step("fulfil") == base.step("fulfil")
    assert (careful.max_attempts, careful.base_delay, careful.timeout) == (3, 1, 600)
    assert base.step("charge").max_attempts == 5
    assert careful.description is None


def test_steps_of_a_mixin_count():
    class Audited:
        @step
        def audit(flow_input): ...

    class Order(Audited, Flow):
        @step
        def ship(audit): ...

    assert [s.slug for s in Order.definition.steps] == ["audit", "ship"]


def test_a_subclass_cannot_turn_a_step_into_something_else():
    with pytest.raises(DefinitionError, match="class Broken: `charge` is a step of a base class; it cannot become 5"):

        class Broken(ProcessOrder):
            charge = 5


# ---- what is wrong, and what was meant ---------------------------------------------------------


def test_the_message_names_the_class_the_step_and_the_likely_intention():
    with pytest.raises(DefinitionError) as caught:

        class Order(Flow):
            @step
            def validate(flow_input): ...

            @step
            def charge(valdate): ...

    assert str(caught.value) == (
        "class Order, step `charge`: it depends on `valdate`, but there is no such step (did you mean "
        "`validate`?); the other steps are validate"
    )


def make(name="Order", /, **body):
    keywords = body.pop("keywords", {})
    return type(Flow)(name, (Flow,), {"__qualname__": name, "__module__": __name__, **body}, **keywords)


A = step(lambda: 1)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "class Order: a flow needs at least one step"),
        (
            {"keywords": {"retries": 3}, "a": A},
            "class Order: there is no option `retries`; the options are slug, max_a",
        ),
        ({"keywords": {"maxAttempts": 3}, "a": A}, "no option `maxAttempts` (did you mean `max_attempts`?)"),
        ({"keywords": {"max_attempts": "3"}, "a": A}, "class Order: max_attempts must be a whole number, not '3'"),
        ({"keywords": {"timeout": 0}, "a": A}, "class Order: timeout must be at least 1"),
        ({"keywords": {"slug": "my-flow"}, "a": A}, "class Order: 'my-flow' cannot be a slug"),
        ({"keywords": {"slug": 5}, "a": A}, "class Order: a slug is a string, not 5"),
        ({"keywords": {"slug": "x" * 48}, "a": A}, "has 48 characters; the most is 47"),
        ({"a": step(max_attempt=3)(lambda: 1)}, "class Order, step `a`: there is no option `max_attempt` (did you"),
        ({"a": step(over="b")(lambda: 1)}, "there is no option `over`"),
        ({"a": step(base_delay=-1)(lambda: 1)}, "class Order, step `a`: base_delay must be at least 0"),
        ({"a": step(start_delay=1.5)(lambda: 1)}, "start_delay must be a whole number of seconds, not 1.5"),
        ({"a": step(when=[1])(lambda: 1)}, "class Order, step `a`: when must be a JSON object"),
        ({"a": step(when_unmet="fail")(lambda: 1)}, "when_unmet says what an unmet condition does"),
        ({"a": step(when_exhausted="stop")(lambda: 1)}, "when_exhausted must be one of"),
        ({"a": step(depends_on="b")(lambda: 1)}, "depends_on must be a list of steps or names, not 'b'"),
        ({"b": A, "a": step(depends_on=A)(lambda: 1)}, "depends_on must be a list of steps or names, not <Step"),
        ({"a": step(depends_on=[5])(lambda: 1)}, "depends_on takes steps or their names, not 5"),
        ({"a": step(depends_on=[make])(lambda: 1)}, "decorate that function with @step"),
        ({"a": map_step(over=3)(lambda item: 1)}, "over takes steps or their names, not 3"),
        ({"a": map_step(depends_on=["b"])(lambda item: 1)}, "use over=, not depends_on="),
        ({"a": map_step(over="b")(lambda item: 1)}, "it depends on `b`, but there is no such step"),
        ({"a": map_step(when={})(lambda item: 1)}, "a map over the flow's input cannot have a condition"),
        ({"a": A, "b": map_step(over="a")(lambda item, a: 1)}, "a map step gets one element of `a` as `item`"),
        (
            {"a": A, "b": step(lambda: 2), "c": map_step(over="a")(lambda item, b: 1)},
            "a map step gets only its elements, as `item`",
        ),
        ({"a": step(lambda item: 1)}, "only a map step has an `item`"),
        ({"a": step(lambda *items: 1)}, "class Order, step `a`: the parameter `*items` takes any number"),
        ({"a": step(lambda a: 1)}, "class Order, step `a`: it depends on itself"),
        ({"a": step(lambda b: 1), "b": step(lambda a: 1)}, "it waits for itself: `a` -> `b` -> `a`"),
        ({"a": step(lambda b: 1), "b": A}, "it depends on `b`, which is defined after it; move `b` above `a`"),
        ({"a": A, "A": step(lambda: 2)}, "the steps `a` and `A` differ only in upper and lower case"),
        ({"run": A}, "class Order, step `run`: `run` is a reserved word of pgflow"),
        ({"_a": A}, "'_a' cannot be a slug"),
        ({"ctx": A}, "class Order: no step can be called `ctx`: handlers take it as a parameter"),
        ({"definition": A}, "no step can be called `definition`: a flow class keeps its definition there"),
        ({"a": step(lambda self: 1)}, "handlers are plain functions without `self`; drop the parameter"),
        ({"b": lambda: 1, "a": step(lambda b: 1)}, "`b` is a plain function of the class, no step; decorate it"),
        ({"a": step(lambda definition: 1)}, "it depends on `definition`, but there is no such step"),
        ({"a": step(lambda flow_inptu: 1)}, "(did you mean `flow_input`?)"),
        (
            {"a": step(when_exhausted="skip")(lambda: 1), "b": step(lambda a: 1)},
            "class Order, step `b`: `a` can be skipped, and this step runs all the same",
        ),
    ],
)
def test_a_class_that_is_wrong_says_where_and_what_was_meant(body, sentence):
    with pytest.raises(DefinitionError) as caught:
        make(**body)

    assert sentence in str(caught.value)
    assert str(caught.value).startswith("class Order")


def test_a_step_written_twice_is_refused_where_python_would_take_the_last():
    with pytest.raises(DefinitionError, match="class Order: there are two `charge`"):

        class Order(Flow):
            @step
            def charge(flow_input): ...

            @step
            def charge(flow_input, ctx): ...


def test_a_step_overwritten_by_a_value_is_refused():
    with pytest.raises(DefinitionError, match="class Order: there are two `charge`"):

        class Order(Flow):
            @step
            def charge(flow_input): ...

            charge = 5


def test_a_second_name_for_a_step_is_refused():
    with pytest.raises(DefinitionError, match="class Order: `pay` is only another name of step `charge`"):

        class Order(Flow):
            @step
            def charge(flow_input): ...

            pay = charge


def test_a_decorator_above_step_is_refused():
    with pytest.raises(DefinitionError, match="class Order, step `charge`: put no other decorator above @step"):

        class Order(Flow):
            @staticmethod
            @step
            def charge(flow_input): ...


@pytest.mark.parametrize("given", ["charge", 5, {"a": 1}])
def test_options_given_by_position_are_refused(given):
    with pytest.raises(DefinitionError, match=r"decorate a function, not .*; options are keywords"):
        step(given)


def test_a_step_is_decorated_once():
    with pytest.raises(DefinitionError, match="is decorated twice"):
        step(map_step(lambda item: item))


def test_a_flow_has_no_instances():
    with pytest.raises(DefinitionError, match=r"flows have no instances; start a run with app.start_flow"):
        ProcessOrder()


def test_flow_itself_is_no_flow():
    with pytest.raises(DefinitionError, match="`Flow` is no flow itself; write a subclass with steps"):
        _ = Flow.definition


def test_a_refused_class_is_a_type_error_too():
    with pytest.raises(TypeError):
        make()


# ---- travelling --------------------------------------------------------------------------------


def test_a_flow_that_cannot_be_imported_travels_by_value():
    factor = 3

    class Local(Flow, slug="x" * 47, timeout=9):
        """Travels."""

        def scaled(x):
            return x * factor

        @step
        def first(flow_input):
            return Local.scaled(flow_input)  # the handler needs its own class: that travels along

    class Second(Local):
        @step
        def second(first):
            return first

    code = (
        "import sys, cloudpickle; flow = cloudpickle.load(sys.stdin.buffer); d = flow.definition\n"
        "print(d.slug, d.timeout, [s.slug for s in d.steps], d.step('first').handler(2), flow.first(5), flow.__doc__)"
    )
    outputs = [
        subprocess.run([sys.executable, "-c", code], input=cloudpickle.dumps(flow), capture_output=True, check=True)
        for flow in (Local, Second)
    ]

    assert outputs[0].stdout.decode().strip() == f"{'x' * 47} 9 ['first'] 6 15 Travels."
    assert outputs[1].stdout.decode().strip() == "second 9 ['first', 'second'] 6 15 None"


def test_importing_the_package_loads_no_database_driver():
    code = (
        "import sys, pgflow_mp; pgflow_mp.Flow, pgflow_mp.Run\n"
        "print([name for name in ('psycopg', 'asyncio', 'multiprocess', 'cloudpickle', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert done.stdout.decode().strip() == "[]"


def test_every_public_name_is_there():
    import pgflow_mp

    for name in pgflow_mp.__all__:
        assert getattr(pgflow_mp, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Flwo'"):
        _ = pgflow_mp.Flwo
