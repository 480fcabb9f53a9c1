"""JSON values: everything that is JSON passes unchanged, everything else is refused with its path."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import pathlib
import uuid
from types import MappingProxyType, SimpleNamespace
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgflow_mp.errors import InvalidInput, OutputError
from pgflow_mp.jsonvalue import MAX_DEPTH, decode, encode

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
SCALARS = st.none() | st.booleans() | st.integers() | TEXT


def nest(scalars):
    return st.recursive(scalars, lambda below: st.lists(below) | st.dictionaries(TEXT, below), max_leaves=10)


EXACT = nest(SCALARS)
JSON = nest(SCALARS | st.floats(allow_nan=False, allow_infinity=False))


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Kind(enum.StrEnum):
    SMALL = "small"


@dataclasses.dataclass
class Point:
    x: int
    tags: list


class Pair(NamedTuple):
    left: int
    right: int


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@given(JSON)
@settings(deadline=None)
def test_json_comes_back_as_it_went(value):
    text = encode(value)

    assert decode(text) == value
    assert encode(decode(text)) == text


@given(JSON)
@settings(deadline=None)
def test_what_is_written_is_what_python_writes(value):
    if value is not None:
        assert json.loads(encode(value)) == json.loads(json.dumps(value))


def test_none_is_sql_null_and_other_empty_values_are_kept():
    assert encode(None) is None
    assert decode(None) is None
    assert [encode(value) for value in (False, 0, "", [], {})] == ["false", "0", '""', "[]", "{}"]
    assert encode([None]) == "[null]"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1, (2,)), "[1,[2]]"),
        (Pair(1, 2), "[1,2]"),
        (Level.HIGH, "3"),
        ({Kind.SMALL: Kind.SMALL}, '{"small":"small"}'),
        (True, "true"),
        (2**2000, str(2**2000)),
        (collections.OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
        (collections.defaultdict(list, a=[1]), '{"a":[1]}'),
        ("é\U0001f600", '"é\U0001f600"'),
        ("a\\u0000b", '"a\\\\u0000b"'),  # a backslash and letters, no NUL
        (Point(1, [Point(2, [])]), '{"x":1,"tags":[{"x":2,"tags":[]}]}'),
        ([{"point": Point(1, [])}], '[{"point":{"x":1,"tags":[]}}]'),
    ],
)
def test_what_python_knows_as_json_is_accepted(value, text):
    assert encode(value) == text


def test_a_model_is_dumped_as_pydantic_does():
    class Model:
        def model_dump(self, *, mode):
            return {"mode": mode}

    assert encode([Model()]) == '[{"mode":"json"}]'


LOOP: list = []
LOOP.append({"self": LOOP})


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (
            {"rows": [0, {"price": decimal.Decimal("1.50")}]},
            "`$.rows[1].price` is Decimal('1.50') of type Decimal, which is no JSON; convert it, e.g. with str()",
        ),
        ({1, 2}, "the value is {1, 2} of type set, which is no JSON; convert it with list(), or sorted() for a stable"),
        ([b"x"], "`$[0]` is b'x' of type bytes, which is no JSON; decode it, or base64"),
        ([dt.datetime(2026, 1, 1)], "with .isoformat()"),
        ([dt.timedelta(1)], "with .total_seconds()"),
        ([uuid.uuid4()], "of type UUID, which is no JSON; convert it with str()"),
        ([pathlib.Path("a")], "convert it with str()"),
        ([Colour.RED], "convert it with .value"),
        ([range(3)], "convert it with list()"),
        ([(n for n in "ab")], "convert it with list()"),
        ([MappingProxyType({})], "convert it with dict()"),
        ([SimpleNamespace(a=1)], "convert it to a dict, list, str, int, float, bool or None"),
        ([len], "is <built-in function len>"),
        ([Point], "which is no JSON"),
        ([1j], "[z.real, z.imag]"),
        ({"a": math.nan}, "`$.a` is nan, which JSON does not know; return None instead"),
        ([math.inf], "`$[0]` is inf"),
        (-math.inf, "the value is -inf"),
        ({"a": {1: "x"}}, "`$.a` has the key 1 of type int; JSON keys are strings: use str()"),
        ({None: 1}, "the value has the key None"),
        ([[[{True: 1}]]], "`$[0][0][0]` has the key True of type bool"),
        ({"a": [{1.5: 1}]}, "`$.a[0]` has the key 1.5 of type float"),
        ({(1, 2): 1}, "the value has the key (1, 2) of type tuple"),
        ({"a b": {"c-d": {1}}}, "`$['a b']['c-d']` is {1}"),
        (["a\x00b"], "`$[0]` contains the character \\u0000, which Postgres cannot store"),
        ({"a": "\ud800"}, "`$.a` contains the lone surrogate '\\ud800'"),
        ({"a": {"b\x00": 1}}, "`$.a` has the key 'b\\x00', which contains the character \\u0000"),
        ({"\udfff": 1}, "which contains the lone surrogate"),
        ([Point(1, [b"x"])], "`$[0].tags[0]` is b'x'"),
        (LOOP, "`$[0].self` contains itself"),
        ([10**4400], "`$[0]` is an integer of more than 4300 digits"),
        (nested(MAX_DEPTH + 1), f"is nested more than {MAX_DEPTH} levels deep"),
        (nested(100_000), f"is nested more than {MAX_DEPTH} levels deep"),
    ],
)
def test_what_is_no_json_is_refused_with_its_path_and_what_to_do(value, sentence):
    with pytest.raises(OutputError) as caught:
        encode(value)

    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 10_000


def test_the_caller_chooses_the_error():
    with pytest.raises(InvalidInput, match=r"`\$\[0\]` is"):
        encode([object()], error=InvalidInput)


def test_the_deepest_nesting_is_accepted():
    assert encode(nested(MAX_DEPTH)) == "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH


def test_an_integer_at_the_limit_of_digits_is_read_back():
    value = 10**4300 - 1

    assert decode(encode([value])) == [value]


def test_the_same_object_twice_is_no_cycle():
    shared = {"a": Point(1, [])}

    assert encode([shared, shared]) == '[{"a":{"x":1,"tags":[]}},{"a":{"x":1,"tags":[]}}]'


def test_a_value_that_cannot_be_shown_is_still_named():
    class Hostile:
        def __repr__(self):
            raise RuntimeError

    with pytest.raises(OutputError, match=r"`\$\.a` is <Hostile instance at \w+> of type Hostile"):
        encode({"a": Hostile()})


@given(JSON, st.sampled_from([{1, 2}, math.nan, "\x00", "\ud800", b"", {1: 2}]))
@settings(deadline=None)
def test_one_bad_value_anywhere_is_found(value, bad):
    with pytest.raises(OutputError, match=r"^`\$\.deep\.x\[1\]` "):
        encode({"good": value, "deep": {"x": [value, bad]}})


def stored(conn, value):
    [text] = conn.execute("select %s::jsonb::text", (encode(value),)).fetchone()
    return decode(text)


EXTREMES = [nested(MAX_DEPTH), [10**4299], "a\\u0000b\x01\x7f", "\ufffe\U0010ffff", {"": ""}]
FLOATS = [1.7976931348623157e308, 5e-324, -0.0, 3.435198688153143e16, 0.1]


@given(EXACT)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_accepted_postgres_stores_and_gives_back(pgflow_conn, value):
    assert stored(pgflow_conn, value) == value


def test_the_extremes_are_stored_and_given_back(pgflow_conn):
    assert [stored(pgflow_conn, value) for value in EXTREMES] == EXTREMES


def test_a_float_keeps_its_value_though_jsonb_may_give_a_whole_one_back_as_an_integer(pgflow_conn):
    assert [float(stored(pgflow_conn, number)) for number in FLOATS] == FLOATS
