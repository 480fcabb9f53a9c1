"""The objects of the API as JSON: the keys are the names of the attributes in Python.

A frozen dataclass becomes an object, a mapping too, a time is ISO 8601 in UTC, a span is seconds, an id is text.
docs/cli.md lists the keys, and a test holds the two together: they are promised to scripts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from pgflow_mp.core.queries.retention import Pruned
from pgflow_mp.results import Run, StepState, StepTask

#: What is computed, but is promised like an attribute.
_COMPUTED: Mapping[type, tuple[str, ...]] = {
    Run: ("error", "seconds"),
    StepState: ("attempts", "seconds"),
    StepTask: ("seconds",),
}

#: What another key tells better (`error` of a run is its failure, or that of its steps), or what nobody needs.
_LEFT_OUT: Mapping[type, tuple[str, ...]] = {Run: ("failure",), Pruned: ("more",)}


def as_json(value: Any) -> Any:
    """Make a value of JSON of what the API gave."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if is_dataclass(value) and not isinstance(value, type):
        names = [*(field.name for field in fields(value)), *_COMPUTED.get(type(value), ())]
        left_out = _LEFT_OUT.get(type(value), ())
        return {name: as_json(getattr(value, name)) for name in names if name not in left_out}
    if isinstance(value, Mapping):
        return {key: as_json(member) for key, member in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_json(member) for member in value]
    return value


def listed_run(run: Run) -> dict[str, Any]:
    """Make an object of a run that was read without its steps."""
    return {name: value for name, value in as_json(run).items() if name != "steps"}
