"""Definitions: what exists is valid, frozen, comparable, and gives the contract's shape."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgflow_mp.definition import FlowDefinition, Pattern, Policy, StepDefinition
from pgflow_mp.errors import DefinitionError, StepNotFound
from pgflow_mp.rules import MAX_FLOW_SLUG, slug_problem

STEP_KEYS = {
    "slug",
    "stepType",
    "dependencies",
    "whenUnmet",
    "whenExhausted",
    "requiredInputPattern",
    "forbiddenInputPattern",
}


def data(*steps, slug="order", **options):
    return FlowDefinition.from_data(
        slug, [{"slug": step} if isinstance(step, str) else step for step in steps], **options
    )


ORDER = [
    {"slug": "validate"},
    {"slug": "charge", "deps": ["validate"], "max_attempts": 5, "timeout": 120, "start_delay": 0},
    {"slug": "reserve", "deps": ["validate"], "step_type": "map", "when_exhausted": "skip-cascade"},
    {
        "slug": "fulfil",
        "deps": ["reserve", "charge"],
        "when": {"charge": {"country": "DE"}},
        "unless": {},
        "when_unmet": "fail",
    },
]


# ---- shape -----------------------------------------------------------------------------------


def test_the_shape_is_the_contracts():
    none = {"defined": False}

    assert data(*ORDER, max_attempts=4, base_delay=0, timeout=30).shape() == {
        "steps": [
            {
                "slug": "validate",
                "stepType": "single",
                "dependencies": [],
                "whenUnmet": "skip",
                "whenExhausted": "fail",
                "requiredInputPattern": none,
                "forbiddenInputPattern": none,
            },
            {
                "slug": "charge",
                "stepType": "single",
                "dependencies": ["validate"],
                "whenUnmet": "skip",
                "whenExhausted": "fail",
                "requiredInputPattern": none,
                "forbiddenInputPattern": none,
                "options": {"maxAttempts": 5, "timeout": 120, "startDelay": 0},
            },
            {
                "slug": "reserve",
                "stepType": "map",
                "dependencies": ["validate"],
                "whenUnmet": "skip",
                "whenExhausted": "skip-cascade",
                "requiredInputPattern": none,
                "forbiddenInputPattern": none,
            },
            {
                "slug": "fulfil",
                "stepType": "single",
                "dependencies": ["charge", "reserve"],
                "whenUnmet": "fail",
                "whenExhausted": "fail",
                "requiredInputPattern": {"defined": True, "value": {"charge": {"country": "DE"}}},
                "forbiddenInputPattern": {"defined": True, "value": {}},
            },
        ],
        "options": {"maxAttempts": 4, "baseDelay": 0, "timeout": 30},
    }


def test_a_flow_without_options_sends_none():
    assert set(data("a").shape()) == {"steps"}


# ---- data ------------------------------------------------------------------------------------


def test_definitions_are_equal_and_hash_alike_when_the_database_could_not_tell_them_apart():
    one = FlowDefinition.from_data("order", [{"slug": "a", "handler": lambda: 1, "when": {"x": 1, "y": 2}}])
    two = FlowDefinition.from_data("order", [{"slug": "a", "handler": lambda: 2, "when": {"y": 2, "x": 1}}])

    assert one == two
    assert hash(one) == hash(two)
    assert dataclasses.replace(one, source="app:Order") == two


@pytest.mark.parametrize(
    "change",
    [
        {"slug": "b"},
        {"slug": "a", "timeout": 5},
        {"slug": "a", "when": {"x": True}},
        {"slug": "a", "when": {"x": 1.0}},
        {"slug": "a", "when": {"x": 1}, "when_unmet": "fail"},
    ],
)
def test_definitions_differ_where_the_database_differs(change):
    assert data({"slug": "a", "when": {"x": 1}}) != data(change)


def test_a_definition_cannot_change():
    flow = data(*ORDER)
    pattern = flow.step("fulfil").when

    with pytest.raises(dataclasses.FrozenInstanceError):
        flow.slug = "other"
    with pytest.raises(TypeError):
        pattern["charge"] = 1
    pattern["charge"]["country"] = "FR"
    assert flow.step("fulfil").when == {"charge": {"country": "DE"}}


def test_a_definition_does_not_follow_the_data_it_was_made_of():
    when = {"a": [1]}
    deps = ["one"]
    flow = data("one", {"slug": "two", "deps": deps, "when": {"one": when}})

    when["a"].append(2)
    deps.append("three")

    assert flow.step("two").when == {"one": {"a": [1]}}
    assert flow.step("two").deps == ("one",)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda flow: pickle.loads(pickle.dumps(flow))])
def test_a_definition_survives_copying(copied):
    flow = FlowDefinition.from_data("order", [*ORDER, {"slug": "last", "handler": named_handler, "deps": ["fulfil"]}])

    assert copied(flow) == flow
    assert copied(flow).step("last").handler(1) == 1
    assert copied(flow).step("last").parameters == flow.step("last").parameters


def named_handler(fulfil=None):
    return fulfil


def test_a_step_can_be_replaced_and_is_checked_again():
    flow = data("a", "b")
    other = dataclasses.replace(flow.step("b"), timeout=9)

    assert dataclasses.replace(flow, steps=(flow.step("a"), other)).step("b").timeout == 9
    with pytest.raises(DefinitionError, match=r"timeout must be"):
        dataclasses.replace(other, timeout=0)


def test_dependencies_are_in_definition_order():
    assert data("b", "a", {"slug": "c", "deps": ["a", "b"]}).step("c").deps == ("b", "a")


def test_leaves_are_the_steps_nobody_depends_on():
    assert data(*ORDER, {"slug": "notify", "deps": ["charge"]}).leaves == ("fulfil", "notify")


def test_an_unknown_step_lists_those_there_are():
    with pytest.raises(StepNotFound, match=r"no step 'chrage' \(did you mean `charge`\?\); its steps are validate,"):
        data(*ORDER).step("chrage")


def test_the_policy_is_the_steps_else_the_flows_else_the_default():
    flow = data(
        {"slug": "a", "timeout": 7, "max_attempts": 0}, {"slug": "b", "start_delay": 4}, base_delay=0, timeout=9
    )

    assert flow.policy("a") == Policy(max_attempts=0, base_delay=0, timeout=7, start_delay=0)
    assert flow.policy("b") == Policy(max_attempts=3, base_delay=0, timeout=9, start_delay=4)
    assert data("a").policy("a") == Policy(max_attempts=3, base_delay=5, timeout=60, start_delay=0)


def test_a_pattern_reads_like_the_dict_it_was():
    pattern = Pattern({"b": 1, "a": {"c": [True, None]}})

    assert pattern == {"a": {"c": [True, None]}, "b": 1}
    assert pattern != {"b": 1}
    assert len(pattern) == 2
    assert repr(pattern) == "{'a': {'c': [True, None]}, 'b': 1}"
    assert hash(pattern) == hash(Pattern({"a": {"c": [True, None]}, "b": 1}))


# ---- slugs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", ["a", "A1", "process_order", "a_1_b", "Run", "x" * 128, "a1"])
def test_good_slugs(slug):
    assert slug_problem(slug) is None


@pytest.mark.parametrize(
    ("slug", "sentence"),
    [
        ("", "'' cannot be a slug"),
        ("_a", "`a` would do"),
        ("a_", "`a` would do"),
        ("a__b", "`a_b` would do"),
        ("my-flow", "'my-flow' cannot be a slug: a slug starts with a letter"),
        ("my-flow", "`my_flow` would do"),
        ("1st order", "`st_order` would do"),
        ("größe", "only ASCII letters"),
        ("a\n", "cannot be a slug"),
        ("run", "`run` is a reserved word"),
        ("x" * 129, "has 129 characters; the most is 128"),
        (None, "a slug is a string, not None"),
        (5, "a slug is a string, not 5"),
    ],
)
def test_bad_slugs_are_told_why(slug, sentence):
    assert sentence in slug_problem(slug)


def contract_says(slug: str) -> bool:
    """SL-1, word for word."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    allowed = letters + "0123456789_"
    return (
        1 <= len(slug) <= 128
        and slug[0] in letters
        and all(character in allowed for character in slug)
        and slug[-1] != "_"
        and "__" not in slug
        and slug != "run"
    )


@given(st.text(st.sampled_from("aZ0_ -é\nrun"), max_size=8) | st.text(max_size=5) | st.text("a_", min_size=120))
@settings(deadline=None)
def test_a_slug_is_good_exactly_when_the_contract_says_so(slug):
    assert (slug_problem(slug) is None) == contract_says(slug)


def test_a_flow_slug_has_to_fit_a_queue_name():
    assert data("a", slug="x" * MAX_FLOW_SLUG).slug == "x" * 47
    with pytest.raises(DefinitionError, match=r"has 48 characters; the most is 47"):
        data("a", slug="x" * 48)


# ---- what is wrong, and what was meant ---------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("max_attempts", -1, "max_attempts must be at least 0 and at most 2147483647, not -1"),
        ("max_attempts", True, "max_attempts must be a whole number, not True"),
        ("max_attempts", "3", "max_attempts must be a whole number, not '3'"),
        ("base_delay", -1, "base_delay must be at least 0"),
        ("base_delay", 0.5, "base_delay must be a whole number of seconds, not 0.5"),
        ("timeout", 0, "timeout must be at least 1"),
        ("timeout", 2**31, "timeout must be at least 1 and at most 2147483647"),
    ],
)
def test_a_bad_number_is_refused_for_flow_and_step(name, value, sentence):
    with pytest.raises(DefinitionError, match=r"^flow `order`: ") as of_flow:
        data("a", **{name: value})
    with pytest.raises(DefinitionError, match=r"^flow `order`, step `a`: ") as of_step:
        data({"slug": "a", name: value})

    assert sentence in str(of_flow.value)
    assert sentence in str(of_step.value)


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ([], "flow `order`: a flow needs at least one step"),
        ("abc", "flow `order`: the steps must be a list of mappings, not 'abc'"),
        ({"slug": "a"}, "the steps must be a list of mappings"),
        (["a"], "flow `order`: steps[0] must be a mapping with a slug, not 'a'"),
        ([{"slug": "a"}, {"deps": []}], "steps[1] has no slug"),
        ([{"slug": "a", "retries": 3}], "there is no option `retries`; the options are slug, deps,"),
        ([{"slug": "a", "maxAttempts": 3}], "there is no option `maxAttempts` (did you mean `max_attempts`?)"),
        ([{"slug": "a", "dep": []}], "there is no option `dep` (did you mean `deps`?)"),
        ([{"slug": "a-b"}], "flow `order`, step `a-b`: 'a-b' cannot be a slug"),
        ([{"slug": None}], "flow `order`, step None: a slug is a string, not None"),
        ([{"slug": "a"}, {"slug": "a"}], "there are two steps `a`"),
        ([{"slug": "a"}, {"slug": "b"}, {"slug": "A"}], "the steps `a` and `A` differ only in upper and lower case"),
        ([{"slug": "a", "step_type": "maps"}], "step_type must be 'single' or 'map', not 'maps'"),
        ([{"slug": "a", "start_delay": -1}], "start_delay must be at least 0"),
        ([{"slug": "a", "deps": "b"}], "the dependencies must be a list of step names, not 'b'"),
        ([{"slug": "a", "deps": 5}], "the dependencies must be a list of step names, not 5"),
        ([{"slug": "a", "deps": [5]}], "a dependency is the name of a step, not 5"),
        (
            [{"slug": "validate"}, {"slug": "a", "deps": ["valdate"]}],
            "step `a`: it depends on `valdate`, but there is no such step (did you mean `validate`?); the other steps",
        ),
        ([{"slug": "a", "deps": ["nowhere"]}], "there is no such step; it is the only step"),
        ([{"slug": "a", "deps": ["a"]}], "step `a`: it depends on itself"),
        ([{"slug": "a"}, {"slug": "b", "deps": ["a", "a"]}], "step `b`: it names the dependency `a` twice"),
        (
            [{"slug": "b", "deps": ["a"]}, {"slug": "a"}],
            "step `b`: it depends on `a`, which is defined after it; move `a` above `b`",
        ),
        (
            [{"slug": "a", "deps": ["c"]}, {"slug": "b", "deps": ["a"]}, {"slug": "c", "deps": ["b"]}],
            "step `a`: it waits for itself: `a` -> `c` -> `b` -> `a`; a flow cannot have a cycle",
        ),
        ([{"slug": "a", "when": [1]}], "when must be a JSON object (a dict), not [1]"),
        ([{"slug": "a", "unless": "x"}], "unless must be a JSON object"),
        ([{"slug": "a", "when": {"x": {1}}}], "step `a`: `when`: `$.x` is {1} of type set"),
        ([{"slug": "a", "when": {"x": 1}, "when_unmet": "stop"}], "when_unmet must be one of 'fail', 'skip', 'skip-c"),
        ([{"slug": "a", "when_exhausted": "skip_cascade"}], "(did you mean `skip-cascade`?)"),
        ([{"slug": "a", "when_unmet": "skip"}], "when_unmet says what an unmet condition does, but there is none"),
        (
            [{"slug": "a"}, {"slug": "b"}, {"slug": "m", "step_type": "map", "deps": ["a", "b"]}],
            "a map step has at most one dependency, the step it maps over, but it has a, b",
        ),
        ([{"slug": "m", "step_type": "map", "when": {}}], "a map over the flow's input cannot have a condition"),
        ([{"slug": "m", "step_type": "map", "unless": {"a": 1}}], "put the condition on a step before or after it"),
        (
            [{"slug": "charge"}, {"slug": "b", "deps": ["charge"], "when": {"chrage": {"ok": True}}}],
            "when asks about `chrage`, which is no dependency of it (did you mean `charge`?)",
        ),
        (
            [{"slug": "a"}, {"slug": "b", "deps": ["a"], "unless": {"country": "DE"}}],
            "unless asks about `country`, which is no dependency of it; a step with dependencies is asked about",
        ),
    ],
)
def test_a_definition_that_is_wrong_says_where_and_what_was_meant(steps, sentence):
    with pytest.raises(DefinitionError) as caught:
        FlowDefinition.from_data("order", steps)

    assert sentence in str(caught.value)


def test_a_step_alone_tells_its_name():
    with pytest.raises(DefinitionError, match=r"^step `a`: timeout must be"):
        StepDefinition("a", timeout=0)
    with pytest.raises(DefinitionError, match=r"^step `a`: when_unmet says"):
        StepDefinition("a", when_unmet="fail")


# ---- handlers of plain data --------------------------------------------------------------------


async def agen(flow_input):
    yield flow_input


def gen():
    yield 1


@pytest.mark.parametrize(
    ("handler", "sentence"),
    [
        (5, "the handler must be a function, not 5"),
        (int, "the handler must be a function, not the class `int`"),
        (agen, "the handler is a generator; a step has one output"),
        (gen, "the handler is a generator; a step has one output"),
        (lambda *args: 1, "the parameter `*args` takes any number of values; name the dependencies"),
        (lambda **kwargs: 1, "the parameter `**kwargs` takes any names"),
        (lambda flow_input, /: 1, "the parameter `flow_input` is positional-only; values are passed by name"),
        (lambda item: 1, "only a map step has an `item`; make it one with @map_step"),
        (
            lambda first: 1,
            "its handler has the parameter `first`, but it does not depend on such a step; add it to its deps",
        ),
        (lambda flow_inptu: 1, "(did you mean `flow_input`?)"),
        (vars, "does not tell its parameters; wrap it in a `def`"),
    ],
)
def test_a_handler_that_cannot_be_called_by_name_is_refused(handler, sentence):
    with pytest.raises(DefinitionError, match=r"^flow `order`, step `second`: ") as caught:
        data("first", {"slug": "second", "handler": handler})

    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("handler", "sentence"),
    [
        (lambda first: 1, "a map step gets one element of `first` as `item`, not the whole"),
        (lambda other: 1, "a map step gets only its elements, as `item`; let the step it maps over"),
        (lambda itme: 1, "parameter `itme` (did you mean `item`?); a map step takes flow_input, ctx, item"),
    ],
)
def test_a_map_handler_takes_its_element_only(handler, sentence):
    with pytest.raises(DefinitionError) as caught:
        data("first", "other", {"slug": "m", "step_type": "map", "deps": ["first"], "handler": handler})

    assert sentence in str(caught.value)


def test_a_dependency_named_like_a_reserved_parameter_cannot_be_told_from_it():
    assert data("ctx", {"slug": "b", "deps": ["ctx"]}).step("b").deps == ("ctx",)
    with pytest.raises(DefinitionError, match=r"its dependency `ctx` has a name that is reserved"):
        data("ctx", {"slug": "b", "deps": ["ctx"], "handler": lambda ctx: 1})


# ---- D-15: what can be absent needs a default --------------------------------------------------

PLAIN_SKIPS = [
    {"when": {"x": 1}},
    {"unless": {"x": 1}},
    {"when": {"x": 1}, "when_unmet": "skip"},
    {"when_exhausted": "skip"},
    {"when": {"x": 1}, "when_unmet": "skip-cascade", "when_exhausted": "skip"},
]
NEVER_ABSENT = [
    {},
    {"when": {"x": 1}, "when_unmet": "fail"},
    {"when": {"x": 1}, "when_unmet": "skip-cascade"},
    {"when_exhausted": "skip-cascade"},
]


@pytest.mark.parametrize("options", PLAIN_SKIPS)
def test_a_parameter_for_a_step_that_can_be_skipped_needs_a_default(options):
    with pytest.raises(DefinitionError, match=r"`a` can be skipped, and this step runs all the same; .* a=None"):
        data({"slug": "a", **options}, {"slug": "b", "deps": ["a"], "handler": lambda a: a})
    assert data({"slug": "a", **options}, {"slug": "b", "deps": ["a"], "handler": lambda a=None: a})


@pytest.mark.parametrize("options", NEVER_ABSENT)
def test_a_step_never_runs_without_a_parent_that_fails_or_cascades(options):
    assert data({"slug": "a", **options}, {"slug": "b", "deps": ["a"], "handler": lambda a: a})


def test_a_map_over_a_skipped_step_completes_with_nothing_and_so_is_never_absent():
    assert data(
        {"slug": "a", "when_exhausted": "skip"},
        {"slug": "m", "step_type": "map", "deps": ["a"], "handler": lambda item: item},
        {"slug": "b", "deps": ["m"], "handler": lambda m: m},
    )


def test_what_a_cascade_took_along_is_not_absent_for_its_children_either():
    assert data(
        {"slug": "a", "when": {"x": 1}, "when_unmet": "skip-cascade"},
        {"slug": "b", "deps": ["a"], "handler": lambda a: a},
        {"slug": "c", "deps": ["b"], "handler": lambda b: b},
    )


# ---- any DAG -----------------------------------------------------------------------------------


@st.composite
def dags(draw):
    slugs = draw(st.lists(st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True), min_size=1, max_size=9, unique=True))
    steps = []
    for index, slug in enumerate(slugs):
        if slug == "run":
            continue
        earlier = [step["slug"] for step in steps]
        is_map = draw(st.booleans())
        deps = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=1 if is_map else 4)) if earlier else []
        step = {"slug": slug, "deps": deps, "step_type": "map" if is_map else "single"}
        for option in ("max_attempts", "base_delay", "timeout", "start_delay"):
            step[option] = draw(st.none() | st.integers(1, 1000))
        if deps or not is_map:
            step["when"] = draw(st.none() | st.just({key: {} for key in deps} or {"k": [index]}))
        steps.append(step)
    return steps or [{"slug": "only"}]


@given(dags())
@settings(deadline=None)
def test_every_dag_in_order_is_accepted_and_gives_a_full_shape(steps):
    flow = FlowDefinition.from_data("any", steps)
    shape = flow.shape()

    seen = set()
    for step, given_step in zip(shape["steps"], steps, strict=True):
        assert set(step) - {"options"} == STEP_KEYS
        assert step["dependencies"] == sorted(given_step.get("deps", []))
        assert seen.issuperset(step["dependencies"])
        assert step.get("options") != {}
        assert (step["requiredInputPattern"] == {"defined": False}) == (given_step.get("when") is None)
        seen.add(step["slug"])
    assert json.loads(json.dumps(shape)) == shape
    assert set(flow.leaves) == seen - {dep for step in steps for dep in step.get("deps", [])}
    assert FlowDefinition.from_data("any", steps) == flow


@given(dags(), st.randoms())
@settings(deadline=None)
def test_an_order_is_accepted_exactly_when_parents_come_first(steps, random):
    random.shuffle(steps)
    place = {step["slug"]: index for index, step in enumerate(steps)}
    in_order = all(place[dep] < place[step["slug"]] for step in steps for dep in step.get("deps", []))

    if in_order:
        assert FlowDefinition.from_data("any", steps)
    else:
        with pytest.raises(DefinitionError, match=r"is defined after it; move"):
            FlowDefinition.from_data("any", steps)
