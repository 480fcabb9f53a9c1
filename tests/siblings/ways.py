"""The ways in which drivers get a statement to the server, down to the protocol: what is typed, prepared, or binary.

Each way takes a connection, a form and its names, and returns the columns (``name type``) and the rows as text.
"""

from __future__ import annotations

import itertools
import re
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.types.json import Jsonb
from psycopg.types.numeric import Float8, Int4, Int8

from .parameters import BOOLEAN, UNTYPED, as_text, driver_types, kind_and_value, type_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import psycopg

    from .forms import Form

    Found = tuple[list[str], list[list[str | None]]]
    Way = Callable[[psycopg.Connection[Any], Form, Mapping[str, str]], Found]

__all__ = ["WAYS"]

_numbers = itertools.count()


def _texts(form: Form, names: Mapping[str, str]) -> list[bytes | None]:
    texts = [as_text(*kind_and_value(each, names)) for each in form.parameters]
    return [None if text is None else text.encode() for text in texts]


def _result(conn: psycopg.Connection[Any], result: pq.abc.PGresult) -> Found:
    done = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)
    assert result.status in done, result.error_message.decode()
    types = type_names(conn, [result.ftype(place) for place in range(result.nfields)])
    columns = [f"{(result.fname(place) or b'').decode()} {name}" for place, name in enumerate(types)]
    return columns, [
        [None if (cell := result.get_value(row, place)) is None else cell.decode() for place in range(result.nfields)]
        for row in range(result.ntuples)
    ]


# Parameters as the `postgres` driver for JavaScript types them ------------------------------------------------


def at_once(conn: psycopg.Connection[Any], form: Form, names: Mapping[str, str]) -> Found:
    """Parsed, bound and executed in one go; with `prepare: false` and behind poolers."""
    return _result(conn, conn.pgconn.exec_params(form.sql.encode(), _texts(form, names), driver_types(form)))


def prepared(conn: psycopg.Connection[Any], form: Form, names: Mapping[str, str]) -> Found:
    """Prepared under a name first, as it does by default."""
    return _by_name(conn, form, _texts(form, names), driver_types(form))


def untyped(conn: psycopg.Connection[Any], form: Form, names: Mapping[str, str]) -> Found:
    """Nothing has a type: the server finds out all of them."""
    types = [BOOLEAN if form.typed and each == BOOLEAN else UNTYPED for each in driver_types(form)]
    return _by_name(conn, form, _texts(form, names), types)


def _by_name(
    conn: psycopg.Connection[Any],
    form: Form,
    texts: list[bytes | None],
    types: list[int],
    formats: list[int] | None = None,
) -> Found:
    name = _fresh_name()
    made = conn.pgconn.prepare(name, form.sql.encode(), types)
    assert made.status == pq.ExecStatus.COMMAND_OK, made.error_message.decode()
    return _result(conn, conn.pgconn.exec_prepared(name, texts, formats))


def _fresh_name() -> bytes:
    """A name for a prepared statement: one that failed cannot be given up until its transaction has ended."""
    return f"form_{next(_numbers)}".encode()


def _told_types(conn: psycopg.Connection[Any], form: Form, types: list[int]) -> list[str]:
    """What the server says that the parameters are."""
    name = _fresh_name()
    conn.pgconn.prepare(name, form.sql.encode(), types)
    asked = conn.pgconn.describe_prepared(name)
    assert asked.status == pq.ExecStatus.COMMAND_OK, asked.error_message.decode()
    return type_names(conn, [asked.param_type(place) for place in range(asked.nparams)])


# What Elixir's driver does ------------------------------------------------------------------------------------


def binary(conn: psycopg.Connection[Any], form: Form, names: Mapping[str, str]) -> Found:
    """No types at the start; each value is sent in binary, as the type that the server says."""
    types = [BOOLEAN if form.typed and each == BOOLEAN else UNTYPED for each in driver_types(form)]
    told = _told_types(conn, form, types)
    transformer = Transformer(conn)
    values, formats = [], []
    for parameter, type_name in zip(form.parameters, told, strict=True):
        native = _native(type_name, *kind_and_value(parameter, names))
        # What psycopg does not write in binary: an interval given as text, and an array without elements.
        if native is None or native == [] or type_name == "interval":
            text = as_text(*kind_and_value(parameter, names))
            values.append(None if text is None else text.encode())
            formats.append(0)
        else:
            dumped = transformer.get_dumper(native, PyFormat.BINARY).dump(native)
            values.append(None if dumped is None else bytes(dumped))
            formats.append(1)
    return _by_name(conn, form, values, types, formats)


_SCALARS: dict[str, Callable[[Any], Any]] = {
    "uuid": uuid.UUID,
    "integer": lambda found: Int4(int(found)),
    "bigint": lambda found: Int8(int(found)),
    "double precision": lambda found: Float8(float(found)),
    "jsonb": Jsonb,
}


def _native(type_name: str, kind: str, found: Any) -> Any:
    if kind == "null":
        return None
    element, array, _ = type_name.partition("[]")
    convert = _SCALARS.get(element, lambda value: value)
    return [convert(each) for each in found] if array else convert(found)


# Statements of SQL --------------------------------------------------------------------------------------------


def _literal(kind: str, found: Any) -> str:
    text = as_text(kind, found)
    return "null" if text is None else "'" + text.replace("'", "''") + "'"


def literals(conn: psycopg.Connection[Any], form: Form, names: Mapping[str, str]) -> Found:
    """Every value stands in the text; a boolean as the keyword."""
    written = []
    for each in form.parameters:
        kind, found = kind_and_value(each, names)
        written.append(as_text(kind, found).replace("f", "false") if kind == "boolean" else _literal(kind, found))
    sql = re.sub(r"\$(\d+)", lambda place: written[int(place[1]) - 1], form.sql)
    return _result(conn, conn.pgconn.exec_(sql.encode()))


def prepare_without_types(conn: psycopg.Connection[Any], form: Form, names: Mapping[str, str]) -> Found:
    """PREPARE f AS ..."""
    return _prepare(conn, form, names, "")


def prepare_unknown(conn: psycopg.Connection[Any], form: Form, names: Mapping[str, str]) -> Found:
    """PREPARE f(unknown, ...) AS ..."""
    types = ["boolean" if form.typed and each == BOOLEAN else "unknown" for each in driver_types(form)]
    return _prepare(conn, form, names, f"({', '.join(types)})" if types else "")


def prepare_with_types(conn: psycopg.Connection[Any], form: Form, names: Mapping[str, str]) -> Found:
    """PREPARE f(text, bigint[], ...) AS ..., with the types that the server finds out."""
    types = _told_types(conn, form, driver_types(form))
    return _prepare(conn, form, names, f"({', '.join(types)})" if types else "")


def _prepare(conn: psycopg.Connection[Any], form: Form, names: Mapping[str, str], types: str) -> Found:
    if not types and form.typed:  # `f` alone would be a text
        types = f"({', '.join('boolean' if each == BOOLEAN else 'unknown' for each in driver_types(form))})"
    name = _fresh_name().decode()
    made = conn.pgconn.exec_(f"prepare {name}{types} as {form.sql}".encode())
    assert made.status == pq.ExecStatus.COMMAND_OK, made.error_message.decode()
    written = ", ".join(_literal(*kind_and_value(each, names)) for each in form.parameters)
    return _result(conn, conn.pgconn.exec_(f"execute {name}{f'({written})' if written else ''}".encode()))


# What psycopg does --------------------------------------------------------------------------------------------


def _psycopg(place: str, *, prepare: bool) -> Way:
    def way(conn: psycopg.Connection[Any], form: Form, names: Mapping[str, str]) -> Found:
        sql = re.sub(r"\$(\d+)", lambda found: f"%(p{found[1]}){place}", form.sql.replace("%", "%%"))
        values = {}
        for number, each in enumerate(form.parameters, 1):
            kind, found = kind_and_value(each, names)
            values[f"p{number}"] = Jsonb(found) if kind == "json" else found
        result = conn.cursor().execute(sql, values, prepare=prepare).pgresult
        assert result is not None
        return _result(conn, result)

    return way


def psycopg_binary(conn: psycopg.Connection[Any], form: Form, names: Mapping[str, str]) -> Found:
    """Python's own types, each sent in binary as what psycopg takes it for."""
    values = {}
    for number, (each, told) in enumerate(
        zip(form.parameters, _told_types(conn, form, driver_types(form)), strict=True), 1
    ):
        kind, found = kind_and_value(each, names)
        values[f"p{number}"] = timedelta(days=30) if told == "interval" else _native(told, kind, found)
    sql = re.sub(r"\$(\d+)", lambda found: f"%(p{found[1]})b", form.sql.replace("%", "%%"))
    result = conn.cursor().execute(sql, values, prepare=True).pgresult
    assert result is not None
    return _result(conn, result)


WAYS: dict[str, Way] = {
    "at once": at_once,
    "prepared": prepared,
    "untyped": untyped,
    "binary": binary,
    "literals": literals,
    "PREPARE without types": prepare_without_types,
    "PREPARE of unknown": prepare_unknown,
    "PREPARE with types": prepare_with_types,
    "psycopg": _psycopg("s", prepare=False),
    "psycopg binary": psycopg_binary,
    "psycopg prepared": _psycopg("s", prepare=True),
}
