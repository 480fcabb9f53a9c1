"""JSON values that programs use, and how jsonb sees them: equality, containment, names of types."""

from __future__ import annotations

SCALARS = [None, False, True, 0, 1, 2, "", "k", 0.5]
OBJECTS = [{}, {"k": 1}, {"k": 2}, {"k": {"m": 1}}, {"k": [1, 2]}]
ELEMENTS = [*SCALARS, *OBJECTS, [], [1], [[1]]]


def json_type(value: object) -> str:
    """jsonb_typeof."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def same(one: object, other: object) -> bool:
    """Equal as JSON; Python takes True for 1."""
    if json_type(one) != json_type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


def contains(value: object, pattern: object) -> bool:
    """jsonb `value @> pattern`, for patterns that are objects."""
    if json_type(value) != json_type(pattern):
        return False
    if isinstance(pattern, dict):
        return all(key in value and contains(value[key], wanted) for key, wanted in pattern.items())
    if isinstance(pattern, list):
        return all(any(contains(each, wanted) for each in value) for wanted in pattern)
    return value == pattern
