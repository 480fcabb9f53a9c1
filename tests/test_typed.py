"""Handlers with annotated types: what comes in becomes the type, what goes out is held to it."""

from __future__ import annotations

import datetime as dt
import enum
import json
import logging
import pickle
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NotRequired, TypedDict

import pydantic
import pytest

from pgflow_mp import (
    Context,
    Flow,
    InvalidInput,
    InvalidTaskInput,
    Job,
    OutputError,
    PgFlow,
    PgflowError,
    job,
    map_step,
    step,
)
from pgflow_mp.checking import Check, Unfit, says_more_than_json
from pgflow_mp.definition import StepDefinition
from pgflow_mp.errors import DefinitionError
from pgflow_mp.executors.perform import perform
from pgflow_mp.executors.process.handlers import _pickle as by_value
from pgflow_mp.handler import encode_input
from pgflow_mp.typed import types_of

if TYPE_CHECKING:

    class Unseen: ...


@dataclass
class Line:
    sku: str
    qty: int = 1


@dataclass
class Order:
    id: int
    lines: list[Line] = field(default_factory=list)
    due: dt.datetime | None = None


class Customer(TypedDict):
    name: str
    vip: NotRequired[bool]


class Receipt(pydantic.BaseModel):
    total: int = pydantic.Field(ge=0)
    paid_at: dt.datetime | None = pydantic.Field(default=None, alias="paidAt")


class Colour(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


def performed(handler, input=None, flow_input=None, step_type="single"):  # noqa: A002
    """Run a handler as one step behind those that its input has outputs of."""
    it = StepDefinition("it", step_type, () if step_type == "map" else tuple(input or {}), handler)
    ctx = Context.begin(flow_slug="alone", run_id=uuid.uuid4(), step_slug="it")
    return perform(it, ctx, json.dumps(input or {}).encode(), json.dumps(flow_input).encode())


def output_of(verdict):
    assert verdict.error is None
    return None if verdict.output is None else json.loads(verdict.output)


def error_of(verdict):
    return verdict.error.splitlines()[0]


# ---- input -------------------------------------------------------------------------------------


def test_a_dataclass_comes_in_as_an_instance_with_all_that_is_in_it():
    seen = []

    def handler(flow_input: Order):
        seen.append(flow_input)

    performed(handler, flow_input={"id": 1, "lines": [{"sku": "a"}], "due": "2026-01-01T00:00:00Z", "more": 1})
    assert seen == [Order(1, [Line("a", 1)], dt.datetime(2026, 1, 1, tzinfo=dt.UTC))]


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (Customer, {"name": "x"}, {"name": "x"}),
        (Receipt, {"total": 3}, Receipt(total=3)),
        (list[Line], [{"sku": "a"}], [Line("a")]),
        (dict[str, Line], {"k": {"sku": "a"}}, {"k": Line("a")}),
        (Order | None, None, None),
        (Colour, "red", Colour.RED),
        (Point, [1, 2], Point(1, 2)),
        (tuple[int, str], [1, "a"], (1, "a")),
        (uuid.UUID, "00000000-0000-0000-0000-000000000001", uuid.UUID(int=1)),
        (Annotated[int, pydantic.Field(gt=2)], 3, 3),
        (Line | Receipt, {"total": 3}, Receipt(total=3)),
    ],
)
def test_a_value_becomes_what_the_annotation_says(annotation, value, expected):
    seen = []

    def handler(flow_input):
        seen.append(flow_input)

    handler.__annotations__ = {"flow_input": annotation}
    assert performed(handler, flow_input=value).error is None
    assert seen == [expected]


def test_a_wrong_input_ends_the_task_with_path_type_and_kind():
    def handler(flow_input: Order):
        raise AssertionError("never called")

    verdict = performed(handler, flow_input={"id": 1, "lines": [{"sku": "a"}, {"sku": "b", "qty": "2"}]})
    assert error_of(verdict) == (
        "InvalidTaskInput: step `it` takes `flow_input: Order`, and got something else: "
        "at `$.lines[1].qty`: expected `int`, got `str`"
    )
    assert not verdict.retryable


def test_pydantic_tells_every_wrong_field():
    def handler(flow_input: list[Receipt]): ...

    text = error_of(performed(handler, flow_input=[{"total": -1}, {"paidAt": 3.5, "total": None}]))
    assert "at `$[0].total`: input should be greater than or equal to 0, got `int`" in text
    assert "at `$[1].total`: input should be a valid integer, got `null`" in text


def test_a_dataclass_takes_no_string_for_a_number_and_a_model_decides_itself():
    def plain(flow_input: Line): ...

    def model(flow_input: Receipt): ...

    assert performed(plain, flow_input={"sku": "a", "qty": "3"}).error
    assert performed(model, flow_input={"total": "3"}).error is None


def test_dependencies_are_held_to_their_types_and_a_skipped_one_takes_its_default():
    def handler(price: Receipt, gift: Line = None, note: Line | None = None):
        return [price.total, gift, note]

    assert output_of(performed(handler, {"price": {"total": 3}})) == [3, None, None]
    assert output_of(performed(handler, {"price": {"total": 3}, "gift": None, "note": {"sku": "a"}})) == [
        3,
        None,
        {"sku": "a", "qty": 1},
    ]
    assert "takes `gift: Line | None`" in performed(handler, {"price": {"total": 3}, "gift": 4}).error


def test_a_map_step_holds_its_element_to_the_type():
    def handler(item: Line, flow_input: dict[str, Any]):
        return item.sku

    assert output_of(performed(handler, {"sku": "a"}, {}, step_type="map")) == "a"
    assert "`item: Line`" in performed(handler, {"qty": 1}, {}, step_type="map").error


async def async_handler(flow_input: Line) -> Line:
    return flow_input


def test_async_handlers_are_held_to_their_types():
    assert output_of(performed(async_handler, flow_input={"sku": "a"})) == {"sku": "a", "qty": 1}
    assert not performed(async_handler, flow_input={}).retryable


# ---- output ------------------------------------------------------------------------------------


def test_an_output_is_dumped_as_its_type():
    def handler() -> Order:
        return Order(1, [Line("a")], dt.datetime(2026, 1, 1, tzinfo=dt.UTC))

    assert output_of(performed(handler)) == {
        "id": 1,
        "lines": [{"sku": "a", "qty": 1}],
        "due": "2026-01-01T00:00:00Z",
    }


def test_a_model_is_dumped_with_its_aliases_so_that_the_next_step_can_read_it():
    def handler() -> Receipt:
        return Receipt(total=1, paidAt=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))

    def reader(price: Receipt) -> dt.datetime | None:
        return price.paid_at

    output = output_of(performed(handler))
    assert output == {"total": 1, "paidAt": "2026-01-01T00:00:00Z"}
    assert output_of(performed(reader, {"price": output})) == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("annotation", "returned", "stored"),
    [
        (Order, {"id": 1}, {"id": 1}),
        (Receipt, {"total": 1}, {"total": 1, "paidAt": None}),
        (Customer, {"name": "x", "vip": True}, {"name": "x", "vip": True}),
        (list[Line], [Line("a"), {"sku": "b"}], [{"sku": "a", "qty": 1}, {"sku": "b"}]),
        (Line | None, None, None),
        (set[int], {1}, [1]),
        (dict[Colour, int], {Colour.RED: 1}, {"red": 1}),
        (Line | Receipt, Receipt(total=1), {"total": 1, "paidAt": None}),
    ],
)
def test_what_the_annotation_says_can_be_returned(annotation, returned, stored):
    def handler():
        return returned

    handler.__annotations__ = {"return": annotation}
    assert output_of(performed(handler)) == stored


@pytest.mark.parametrize(
    ("annotation", "returned", "told"),
    [
        (Order, Order(1, [Line("a", "2")]), "at `$.lines[0].qty`: expected `int`, got `str`"),
        (Order, {"lines": []}, "at `$`: object missing required field `id`"),
        (Order, None, "at `$`: expected `object`, got `null`"),
        (Customer, {"name": 3}, "at `$.name`: expected `str`, got `int`"),
        (list[Line], {}, "at `$`: expected `array`, got `object`"),
        (Receipt, {"total": -1}, "at `$.total`: input should be greater than or equal to 0, got `int`"),
        (Receipt, Receipt.model_construct(total="x"), "at `$.total`: input should be a valid integer"),
        (Receipt, Line("a"), "at `$.total`: field required"),
    ],
)
def test_an_output_of_another_shape_is_an_output_error_with_its_path(annotation, returned, told):
    def handler():
        return returned

    handler.__annotations__ = {"return": annotation}
    verdict = performed(handler)
    assert error_of(verdict).startswith(f"OutputError: step `it` says that it returns `{Check(annotation)}`")
    assert told in error_of(verdict)
    assert verdict.reason == "output"
    assert verdict.retryable


def test_an_output_that_is_no_json_is_told_with_its_path_also_below_a_type():
    def handler() -> Customer:
        return {"name": object()}

    def infinite() -> dict[str, Colour | float]:
        return {"x": float("inf")}

    assert "`$.name` is <object" in performed(handler).error
    assert "`$.x` is inf" in performed(infinite).error


# ---- what is left alone ------------------------------------------------------------------------


@pytest.mark.parametrize("annotation", ["int", "list[int]", "dict[str, Any]", "Mapping[str, Sequence[int]] | None"])
def test_a_type_that_is_json_anyway_is_for_type_checkers_only(annotation):
    def handler(flow_input): ...

    handler.__annotations__ = {"flow_input": annotation, "return": annotation}
    assert not types_of(handler)


def test_a_context_is_never_looked_up():
    def handler(ctx: Unseen): ...

    assert not types_of(handler)


def test_an_annotation_that_exists_for_type_checkers_only_is_not_checked_and_said_once(caplog):
    def handler(flow_input: Unseen):
        return flow_input

    types = types_of(handler)
    with caplog.at_level(logging.WARNING, "pgflow_mp"):
        assert types.of("flow_input") is None
        assert types.of("flow_input") is None
    (record,) = caplog.records
    assert record.message.endswith(
        "`flow_input` is annotated with Unseen, but name 'Unseen' is not defined; it is not checked. "
        "Is that imported under TYPE_CHECKING only?"
    )


def test_a_class_further_down_in_the_module_is_found_when_it_is_needed():
    def handler(flow_input: Further) -> Further:
        return flow_input

    assert performed(handler, flow_input={"n": "1"}).error


@dataclass
class Further:
    n: int


def test_neither_library_is_imported_for_a_flow_without_such_types():
    script = (
        "import sys; from pgflow_mp import Flow, step\n"
        "class F(Flow):\n"
        "    @step\n"
        "    def a(flow_input: dict[str, int]) -> list[int]: return [1]\n"
        "print(sorted({'msgspec', 'pydantic', 'decimal'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


# ---- where types are found ---------------------------------------------------------------------


def test_types_of_the_enclosing_function_and_of_the_class_body_are_found():
    @dataclass
    class Local:
        n: int

    class Nested(Flow):
        @dataclass
        class Inner:
            m: int

        @step
        def first(flow_input: Local) -> Inner: ...

    types = Nested.definition.step("first").types
    assert types.of("flow_input").accept({"n": 1}) == Local(1)
    assert types.of("return").accept({"m": 1}) == Nested.Inner(1)


def test_types_travel_with_a_handler_that_goes_by_value():
    @dataclass
    class Local:
        n: int

    class ByValue(Flow):
        @step
        def first(flow_input: Local) -> Further:
            return Further(flow_input.n)

    first = ByValue.definition.step("first")
    assert first.types.of("flow_input").accept({"n": 1}) == Local(1)  # leaves its mark in the class
    copy = pickle.loads(by_value(first))
    ctx = Context.begin(flow_slug="by_value", run_id=uuid.uuid4(), step_slug="first")
    assert perform(copy, ctx, b"{}", b'{"n": 2}').output == '{"n":2}'
    assert "expected `int`" in perform(copy, ctx, b"{}", b'{"n": "2"}').error


def test_a_type_that_no_library_knows_is_a_definition_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(DefinitionError, match=r"may not contain more than one .* type.*install pydantic"):
        Check(Line | Order).accept({})


def test_a_recursive_type_is_followed():
    assert says_more_than_json(Node)
    with pytest.raises(Unfit, match=r"at `\$\.next\.n`: expected `int`, got `str`"):
        Check(Node).accept({"n": 1, "next": {"n": "x"}})


@dataclass
class Node:
    n: int
    next: Node | None = None


# ---- the run's input ---------------------------------------------------------------------------


class Typed(Flow[Order, dict[str, Receipt]]):
    @step
    def price(flow_input):
        return {"total": 1}


class Rooted(Flow):
    @step
    def price(flow_input: Order): ...

    @step
    def later(price, flow_input: Receipt): ...

    @step(when={"kind": "x"})
    def sometimes(flow_input: Receipt): ...


class Each(Flow):
    @map_step
    def line(item: Line): ...


@pytest.mark.parametrize("flow", [Typed, Rooted])
def test_the_runs_input_is_held_to_what_the_flow_or_its_first_steps_say(flow):
    assert json.loads(encode_input(flow.definition, {"id": 1})) == {"id": 1}
    assert json.loads(encode_input(flow.definition, Order(1)))["id"] == 1
    with pytest.raises(InvalidInput, match=r"takes `Order` as the run's input, .* at `\$\.id`: expected `int`"):
        encode_input(flow.definition, {"id": "1"})
    with pytest.raises(InvalidInput, match=r"`\$\.id` is <object"):
        encode_input(flow.definition, {"id": object()})


def test_each_element_of_the_runs_input_is_held_to_what_a_first_map_step_says():
    assert encode_input(Each.definition, [Line("a"), {"sku": "b"}]) == '[{"sku":"a","qty":1},{"sku":"b"}]'
    with pytest.raises(InvalidInput, match=r"step `line`, takes `list\[Line\]`.* at `\$\[1\].sku`"):
        encode_input(Each.definition, [{"sku": "a"}, {"sku": 1}])


def test_a_flow_inherits_its_types_and_one_without_has_none():
    class Heir(Typed):
        pass

    assert str(Heir.definition.input_type) == "Order"
    assert str(Heir.definition.output_type) == "dict[str, Receipt]"
    assert Rooted.definition.input_type is None
    assert encode_input(Heir.definition.__class__("bare", Heir.definition.steps), None) == "null"


def test_a_job_is_held_to_the_types_of_its_function():
    @dataclass
    class Local:
        n: int

    @job
    def double(number: Local) -> Local:
        return Local(number.n * 2)

    class Halve(Job):
        def perform(number: Local) -> int:
            return number.n // 2

    for definition in (double, Halve.definition):
        assert encode_input(definition, Local(1)) == '{"n":1}'
        with pytest.raises(InvalidInput, match=r"takes `Local` as the run's input, .* at `\$`"):
            encode_input(definition, [])


def test_no_run_is_started_with_a_wrong_input(pgflow, pgflow_dsn):
    pgflow.compile(Each)
    with PgFlow(pgflow_dsn, flows=[Each]) as knowing:
        for app, flow in ((pgflow, Each), (knowing, "each")):
            with pytest.raises(InvalidInput, match=r"at `\$\[0\].sku`"):
                app.start_flows(flow, [[Line("a")], [{"sku": 1}]])


class Sums(TypedDict):
    total: Point


class Summing(Flow[Order, Sums]):
    @step
    def total(flow_input: Order) -> Point:
        return Point(flow_input.id, len(flow_input.lines))


class Lying(Flow[Order, Sums]):
    @step
    def total(flow_input: Order):
        return "no point"


def test_the_output_of_a_run_is_of_the_type_that_its_flow_says_where_the_flow_is_named(flow_runner, pgflow):
    run_id = flow_runner.run(Summing, Order(3)).run_id
    assert pgflow.get_run(run_id).output == {"total": [3, 0]}
    assert pgflow.get_run(run_id, flow=Summing).output == {"total": Point(3, 0)}
    assert pgflow.get_run_with_states(run_id, flow=Summing).output == {"total": Point(3, 0)}
    with pytest.raises(PgflowError, match=f"run {run_id} is one of flow `summing`, not of `lying`"):
        pgflow.get_run(run_id, flow=Lying)
    lie = flow_runner.run(Lying, Order(3)).run_id
    with pytest.raises(OutputError, match=r"its output is no `Sums`: at `\$\.total`: expected `array`, got `str`"):
        pgflow.get_run(lie, flow=Lying)
    begun = flow_runner.start(Lying, Order(3)).run_id
    assert pgflow.get_run(begun, flow=Lying).output is None


# ---- flow_runner -------------------------------------------------------------------------------


class Shop(Flow):
    @step
    def validate(flow_input: Order) -> Order:
        return flow_input

    @step
    def charge(validate: Order) -> Receipt:
        return Receipt(total=len(validate.lines))


def test_a_step_alone_takes_values_of_its_types_or_plain_ones(flow_runner):
    assert flow_runner.step(Shop, "charge", validate=Order(1, [Line("a")], dt.datetime(2026, 1, 1)))["total"] == 1
    assert flow_runner.step(Shop, "charge", validate={"id": 1})["total"] == 0
    with pytest.raises(InvalidTaskInput, match="takes `validate: Order`"):
        flow_runner.step(Shop, "charge", validate={"id": "1"})


def test_values_keep_their_types_from_step_to_step_in_children(flow_runner):
    run = flow_runner.run(Shop, {"id": 1, "lines": [Line("a")], "due": "2026-01-01T00:00:00Z"}, executor="process")
    assert run.steps["validate"].output["due"] == "2026-01-01T00:00:00Z"
    assert run.output == {"charge": {"total": 1, "paidAt": None}}


def test_a_wrong_output_fails_where_it_is_made_and_a_wrong_input_is_not_tried_again(flow_runner):
    class Wrong(Flow):
        @step(max_attempts=2)
        def make() -> Line:
            return {"sku": 1}

    class Misfit(Flow):
        @step
        def make():
            return {"sku": 1}

        @step(max_attempts=3)
        def take(make: Line): ...

    run = flow_runner.run(Wrong, check=False)
    assert run.steps["make"].error.startswith("OutputError: step `make` says that it returns `Line`")
    assert run.steps["make"].attempts == 2
    run = flow_runner.run(Misfit, check=False)
    assert run.steps["take"].error.startswith("InvalidTaskInput: step `take` takes `make: Line`")
    assert run.steps["take"].attempts == 1
