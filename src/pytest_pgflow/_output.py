"""The output of a run in an assertion: a difference is told step by step."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any

from pytest_pgflow._table import shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_LINES = 40


class Output(dict[str, Any]):
    """Leaf step -> output: a dict like any other, which knows whose it is."""

    __slots__ = ("flow_slug", "statuses")

    def __init__(self, values: Mapping[str, Any], flow_slug: str, statuses: Mapping[str, str]) -> None:
        super().__init__(values)
        self.flow_slug = flow_slug
        self.statuses = statuses

    def __reduce__(self) -> tuple[type[Output], tuple[Any, ...]]:
        return Output, (dict(self), self.flow_slug, dict(self.statuses))


def explain(left: object, right: object) -> list[str] | None:
    """Return the lines that pytest shows for ``left == right``, if one of them is the output of a run."""
    if isinstance(left, Output) and isinstance(right, dict):
        return list(_explain(left, right, left))
    if isinstance(right, Output) and isinstance(left, dict):
        return list(_explain(left, right, right))
    return None


def _explain(left: dict[str, Any], right: dict[str, Any], output: Output) -> Iterator[str]:
    yield f"{shorten(left)} == {shorten(right)}"
    expected = right if output is left else left
    for slug in {**output, **expected}:
        if slug not in expected:
            yield f"step {slug}: not expected: {shorten(output[slug])}"
        elif slug not in output:
            yield f"step {slug}: {_why_absent(slug, output)}"
        elif output[slug] != expected[slug]:
            yield from _difference(slug, output[slug], expected[slug])


def _why_absent(slug: str, output: Output) -> str:
    status = output.statuses.get(slug)
    if status is None:
        return f"flow {output.flow_slug} has no such step; its steps are {', '.join(output.statuses)}"
    return "completed, but is no leaf: other steps depend on it" if status == "completed" else f"is {status}"


def _difference(slug: str, found: Any, expected: Any) -> Iterator[str]:
    if not isinstance(found, dict | list) or type(found) is not type(expected):
        yield f"step {slug}: {shorten(found)}, expected {shorten(expected)}"
        return
    yield f"step {slug}: (- expected, + found)"
    lines = [line.rstrip() for line in difflib.ndiff(_lines(expected), _lines(found)) if line[0] != "?"]
    yield from (f"  {line}" for line in lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        yield f"  ... {len(lines) - MOST_LINES} more lines"


def _lines(value: Any) -> list[str]:
    return json.dumps(value, indent=2, ensure_ascii=False, default=repr).splitlines()
