"""What a form's parameters and columns are to a driver: values put in, their texts, their types."""

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg

    from .forms import Form

__all__ = ["BOOLEAN", "UNTYPED", "as_text", "driver_types", "filled", "kind_and_value", "type_names"]

UNTYPED, BOOLEAN, JSON = 0, 16, 3802
TYPES = {"boolean": BOOLEAN, "json": JSON}


def filled(text: str, names: Mapping[str, str]) -> str:
    """Put in what `names` holds."""
    return string.Template(text).safe_substitute(names)


def kind_and_value(parameter: str, names: Mapping[str, str]) -> tuple[str, Any]:
    """A form's parameter as its kind and the value that JSON would have."""
    kind, _, text = parameter.partition(":")
    text = filled(text, names)
    if kind == "text":
        return kind, text
    return kind, None if kind == "null" else json.loads(text)


def as_text(kind: str, found: Any) -> str | None:
    """A parameter in Postgres' own writing, as drivers send it."""
    match kind:
        case "null":
            return None
        case "json":
            return json.dumps(found)
        case "boolean":
            return "t" if found else "f"
        case "array":
            return "{" + ",".join(str(each) for each in found) + "}"
        case _:
            return str(found)


def driver_types(form: Form) -> list[int]:
    """The types that the `postgres` driver for JavaScript sends."""
    return [TYPES.get(each.partition(":")[0], UNTYPED) for each in form.parameters]


def type_names(conn: psycopg.Connection[Any], oids: Sequence[int]) -> list[str]:
    """Names of types, with schema where that is not Postgres' own; asked once a connection."""
    known = _type_names.setdefault(conn, {})
    if unknown := [oid for oid in oids if oid not in known]:
        known.update(conn.execute("select t, format_type(t, null) from unnest(%s::oid[]) as t", [unknown]).fetchall())
    return [known[oid] for oid in oids]


_type_names: WeakKeyDictionary[psycopg.Connection[Any], dict[int, str]] = WeakKeyDictionary()
