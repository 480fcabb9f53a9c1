r"""JSON in and out, strictly: what a handler returns is stored as it is, or refused with its path.

Python's encoder is lenient where Postgres or the other languages are not: it writes NaN, turns the
keys 1 and None into strings, and passes ``\u0000`` and lone surrogates, which ``jsonb`` rejects for
the whole statement. One bad output must never fail the batch it travels in (decision D-6), so it is
checked here, in the process that made it.

Plain data takes the fast path: the C encoder, then one look at the containers, also in C loops. Only
what that path does not vouch for is walked value by value, to name the culprit as ``$.rows[3].price``
or to turn dataclasses and models into plain data.
"""

from __future__ import annotations

import dataclasses
import json
import re
from itertools import chain, compress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pgflow_mp.errors import OutputError
from pgflow_mp.rules import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgflow_mp.errors import PgflowError

MAX_DEPTH: Final = 500
"""Deepest nesting: every reader (Python's parser with its default recursion limit too) can follow it."""
_MAX_DIGITS: Final = 4300
"""Longest integer that Python reads back by default (sys.int_info.default_max_str_digits)."""

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_CONTAINERS: Final = frozenset({dict, list, tuple})
_STRING: Final = frozenset({str})
_is_dict = frozenset({dict}).__contains__
_is_array = frozenset({list, tuple}).__contains__
_dumps = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

_Path: TypeAlias = "tuple[_Path, str | int] | None"  # linked, so that only a path that is told costs


class _NoJson(Exception):  # noqa: N818  (a signal of this module, never seen outside)
    def __init__(self, path: _Path, what: str) -> None:
        super().__init__(path, what)
        self.path, self.what = path, what


def encode(value: object, *, error: type[PgflowError] = OutputError) -> str | None:
    """Turn a value into JSON text.

    Accepted: dict with string keys, list, tuple, str, int, float, bool, None; dataclass instances and
    pydantic models become objects. Subclasses (IntEnum, StrEnum, OrderedDict, named tuples) count as
    what they extend.

    Args:
        value: What to store. None is SQL NULL (decision D-8); inside a value it is JSON null.
        error: The class to raise.

    Returns:
        JSON text that ``jsonb`` takes, or None for None.

    Raises:
        OutputError: (or `error`) The value is no JSON; the sentence names the path and what to do.
    """
    if value is None:
        return None
    text = _encode_plain(value)
    if text is not None:
        return text
    try:
        return _dumps(_plain(value, None, 0, set()))
    except _NoJson as problem:
        raise error(f"{_where(problem.path)} {problem.what}") from None
    except RecursionError:  # called from deep within a stack of its own
        raise error(f"the value {_TOO_DEEP}") from None


def decode(text: str | bytes | bytearray | None) -> Any:
    """Turn JSON text, as Postgres gives it, into a value; None (SQL NULL) is None.

    Raises:
        ValueError: The text is no JSON.
    """
    return None if text is None else json.loads(text)


# ---- the fast path ---------------------------------------------------------------------------


def _encode_plain(value: object) -> str | None:
    """Encode plain data, or give None when the value needs a closer look."""
    try:
        text = _dumps(value)
    except (TypeError, ValueError, RecursionError):
        return None
    if "\\u0000" in text or not (text.isascii() or _is_unicode(text)) or not _is_plain(value):
        return None
    return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_plain(value: object) -> bool:
    """Whether all containers are dicts with string keys, lists and tuples, nested at most MAX_DEPTH deep.

    Goes level by level, so that every loop over values is one of C: half the time of encoding them.
    """
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        types = list(map(type, level))
        containers = set(types) - _SCALARS
        if not containers:
            return True
        if not containers <= _CONTAINERS:
            return False
        dicts = list(compress(level, map(_is_dict, types)))
        if not set(map(type, chain.from_iterable(dicts))) <= _STRING:
            return False
        arrays = compress(level, map(_is_array, types))
        level = [*chain.from_iterable(map(dict.values, dicts)), *chain.from_iterable(arrays)]
    return False


# ---- the closer look -------------------------------------------------------------------------

_TOO_DEEP = f"is nested more than {MAX_DEPTH} levels deep; flatten it"


def _plain(value: Any, path: _Path, depth: int, open_ids: set[int]) -> Any:
    """Give the value as plain data; raise `_NoJson` for the first part that cannot be."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int):
        return _integer(value, path)
    if isinstance(value, float):
        return _number(value, path)
    if depth >= MAX_DEPTH:
        raise _NoJson(path, _TOO_DEEP)
    if id(value) in open_ids:
        raise _NoJson(path, "contains itself; JSON has no references: leave the inner one out")
    open_ids.add(id(value))
    plain = _container(value, path, depth, open_ids)
    open_ids.remove(id(value))
    return plain


def _container(value: Any, path: _Path, depth: int, open_ids: set[int]) -> Any:
    if isinstance(value, dict):
        plain = {}
        for key, below in value.items():
            plain[_key(key, path)] = _plain(below, (path, str(key)), depth + 1, open_ids)
        return plain
    if isinstance(value, (list, tuple)):
        items = []
        for index, below in enumerate(value):
            items.append(_plain(below, (path, index), depth + 1, open_ids))
        return items
    return _plain(_dumped(value, path), path, depth + 1, open_ids)


def _dumped(value: Any, path: _Path) -> Any:
    """Turn a dataclass instance or a model into its fields; nothing else is guessed."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if callable(getattr(type(value), "model_dump", None)):  # pydantic, without importing it
        return value.model_dump(mode="json")
    raise _NoJson(path, f"is {shown(value)} of type {type(value).__name__}, which is no JSON; {_hint(value)}")


def _text(value: str, path: _Path) -> str:
    if "\x00" in value:
        raise _NoJson(
            path,
            "contains the character \\u0000, which Postgres cannot store; remove it, e.g. with .replace('\\x00', '')",
        )
    if found := _SURROGATE.search(value):
        raise _NoJson(
            path,
            f"contains the lone surrogate {found[0]!a}, which is no character; "
            f"decode the text it came from with errors='replace'",
        )
    return value


def _integer(value: int, path: _Path) -> int:
    if abs(value) >> 14_000 and len(f"{abs(value):x}") * 1.2042 > _MAX_DIGITS:
        raise _NoJson(path, f"is an integer of more than {_MAX_DIGITS} digits; store it as a string, e.g. with hex()")
    return value


def _number(value: float, path: _Path) -> float:
    if value - value != 0:  # NaN and the infinities
        raise _NoJson(path, f"is {float(value)}, which JSON does not know; return None instead, or leave it out")
    return value


def _key(key: Any, path: _Path) -> str:
    if not isinstance(key, str):
        raise _NoJson(path, f"has the key {shown(key)} of type {type(key).__name__}; JSON keys are strings: use str()")
    try:
        return _text(key, path)
    except _NoJson as problem:
        raise _NoJson(path, f"has the key {key!a}, which {problem.what}") from None


def path_text(parts: Iterable[str | int]) -> str:
    """Write the way to a part of a value: ``$.rows[3].price``."""
    return "$" + "".join(map(_part, parts))


def _where(path: _Path) -> str:
    if path is None:
        return "the value"
    parts: list[str | int] = []
    while path is not None:
        path, part = path
        parts.append(part)
    return f"`{path_text(reversed(parts))}`"


def _part(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if _IDENTIFIER.fullmatch(part) else f"[{part!a}]"


_HINTS: Final = {
    "Decimal": "convert it, e.g. with str() or float()",
    "Fraction": "convert it, e.g. with str() or float()",
    "complex": "store its parts: [z.real, z.imag]",
    "datetime": "convert it with .isoformat()",
    "date": "convert it with .isoformat()",
    "time": "convert it with .isoformat()",
    "timedelta": "convert it with .total_seconds()",
    "UUID": "convert it with str()",
    "bytes": "decode it, or base64.b64encode(...).decode() for binary data",
    "bytearray": "decode it, or base64.b64encode(...).decode() for binary data",
    "memoryview": "decode it, or base64.b64encode(...).decode() for binary data",
    "set": "convert it with list(), or sorted() for a stable order",
    "frozenset": "convert it with list(), or sorted() for a stable order",
    "coroutine": "await it",
    "function": "call it, or leave it out",
}


def _hint(value: Any) -> str:
    for cls in type(value).__mro__:
        if cls.__name__ in _HINTS:
            return _HINTS[cls.__name__]
    for attribute, hint in (
        ("tolist", "convert it with .tolist()"),  # numpy's arrays and scalars
        ("to_dict", "convert it with .to_dict()"),  # data frames
        ("__fspath__", "convert it with str()"),
        ("_value_", "convert it with .value"),  # enums
        ("keys", "convert it with dict()"),
        ("__iter__", "convert it with list()"),
    ):
        if hasattr(value, attribute):
            return hint
    return "convert it to a dict, list, str, int, float, bool or None"
