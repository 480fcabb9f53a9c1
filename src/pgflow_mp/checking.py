"""Values held to a type: JSON that comes in becomes what an annotation says, what goes out is plain JSON again.

msgspec does it for dataclasses, TypedDicts, named tuples, enums, dates, UUIDs and what is made of them: no string
becomes a number, unknown keys are left out. A type with a pydantic model in it is pydantic's: the model's own
configuration says how strict it is, and aliases are used in both directions. So is a union of several dataclasses,
which msgspec cannot tell apart, where pydantic is installed.

Neither library is imported before the first value is held to a type, and nothing is imported for a type that has
no more to say than JSON itself (`dict[str, int]`, `list`, `Any`): that one is for type checkers only.
"""

from __future__ import annotations

import dataclasses
import re
import typing
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol

from pgflow_mp import jsonvalue
from pgflow_mp.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_PROBLEMS: Final = 5
_OTHER_SCALARS: Final = frozenset(
    {
        "builtins.bytes",
        "builtins.bytearray",
        "datetime.date",
        "datetime.time",
        "datetime.timedelta",
        "decimal.Decimal",
        "enum.Enum",
        "uuid.UUID",
    }
)
"""By name: whoever uses one has imported it, nobody else has to."""
_OTHER_CONTAINERS: Final = frozenset({tuple, set, frozenset})
_TELLING_LIBRARIES: Final = frozenset({"pydantic", "pydantic_core", "annotated_types"})
"""Whose metadata in `Annotated[...]` restricts a value."""


_PLACES: Final = re.compile(r"(?:[\w<>]+\.)+(?=\w)")
_CACHE: Final = "__msgspec_cache__"
_marked: weakref.WeakSet[type] = weakref.WeakSet()


class Unfit(ValueError):  # noqa: N818  (a signal to the caller, who knows what the value is)
    """The value is not of the type; the text has the path of what is wrong, what was expected and what is there."""


class Check:
    """A type that values are held to.

    Args:
        type: The annotation.
    """

    def __init__(self, type: Any) -> None:  # noqa: A002
        self.type = type
        self._library: _Library | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Check, (self.type,)

    def __repr__(self) -> str:
        return f"Check({self})"

    def __str__(self) -> str:
        named = isinstance(self.type, type) and typing.get_origin(self.type) is None
        return self.type.__name__ if named else _PLACES.sub("", str(self.type))

    def accept(self, value: Any) -> Any:
        """Turn a JSON value into one of the type.

        Raises:
            Unfit: It is none.
            DefinitionError: Nothing can be held to this type.
        """
        return self._by().accept(value)

    def dump(self, value: Any) -> Any:
        """Turn a value of the type, or plain data that would be accepted as one, into plain data.

        Raises:
            Unfit: It is none.
            OutputError: It has parts that are no JSON.
            DefinitionError: Nothing can be held to this type.
        """
        return self._by().dump(value)

    def many(self) -> Check:
        """Give the check of an array of such values."""
        return Check(list[self.type])  # type: ignore[name-defined]

    def _by(self) -> _Library:
        if self._library is None:
            self._library = _library_for(self.type)
        return self._library


def forget() -> None:
    """Undo what checking has left in classes: msgspec's cache there keeps them from being pickled by value."""
    for marked in list(_marked):
        if _CACHE in vars(marked):
            delattr(marked, _CACHE)


def says_more_than_json(annotation: Any) -> bool:
    """Whether a JSON value can be of this type or not, in a way that this module can find out."""
    return any(_is_telling(part) for part in _parts(annotation))


# ---- what a type is made of ------------------------------------------------------------------


def _is_telling(part: Any) -> bool:
    return (
        part in _OTHER_CONTAINERS
        or _is_record(part)
        or _is_models(part)
        or (isinstance(part, type) and any(map(_is_other_scalar, part.__mro__)))
    )


def _is_other_scalar(part: type) -> bool:
    return f"{part.__module__}.{part.__qualname__}" in _OTHER_SCALARS


def _is_record(part: Any) -> bool:
    """Whether it has named fields: a dataclass, a TypedDict, a named tuple, a msgspec.Struct."""
    return isinstance(part, type) and (
        dataclasses.is_dataclass(part) or _is_typed_dict(part) or hasattr(part, "_fields") or _is_struct(part)
    )


def _is_typed_dict(part: Any) -> bool:
    return typing.is_typeddict(part) or (hasattr(part, "__total__") and hasattr(part, "__required_keys__"))


def _is_struct(part: type) -> bool:
    return hasattr(part, "__struct_fields__")


def _is_models(part: Any) -> bool:
    """Whether it is pydantic's business: a model, a pydantic dataclass, metadata that restricts a value."""
    if isinstance(part, type):
        return hasattr(part, "__pydantic_core_schema__") or hasattr(part, "__pydantic_config__")
    return type(part).__module__.partition(".")[0] in _TELLING_LIBRARIES


def _parts(annotation: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """Yield all that a type is made of, fields of records included, each once."""
    seen = set() if seen is None else seen
    if id(annotation) in seen:
        return
    seen.add(id(annotation))
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from annotation.__metadata__
    below = [getattr(annotation, name, None) for name in ("__value__", "__supertype__")]  # type X = ..., NewType
    if origin is None:
        yield annotation
        below += _field_types(annotation)
    elif origin is not typing.Literal:
        yield origin
        below += [*typing.get_args(annotation), *_field_types(origin)]
    for part in below:
        if part is not None and part is not Ellipsis:
            yield from _parts(part, seen)


def _field_types(part: Any) -> list[Any]:
    if not _is_record(part) or _is_models(part):
        return []
    try:
        return list(typing.get_type_hints(part, include_extras=True).values())
    except Exception:  # noqa: BLE001  (names that only type checkers see; the library says what it makes of that)
        return []


# ---- the libraries ---------------------------------------------------------------------------


class _Library(Protocol):
    def accept(self, value: Any) -> Any: ...

    def dump(self, value: Any) -> Any: ...


def _library_for(annotation: Any) -> _Library:
    if any(_is_models(part) for part in _parts(annotation)):
        return _Pydantic(annotation, strict=None)
    try:
        return _Msgspec(annotation)
    except (TypeError, NameError) as problem:
        try:
            return _Pydantic(annotation, strict=True)
        except ImportError:
            raise DefinitionError(
                f"no value can be held to the type {annotation}: {problem}; install pydantic, which knows more types"
            ) from None


class _Msgspec:
    def __init__(self, annotation: Any) -> None:
        import msgspec  # 20 ms that only typed flows spend

        _marked.update(part for part in _parts(annotation) if isinstance(part, type) and _is_record(part))
        msgspec.json.Decoder(annotation)  # is this a type for it?
        self._type = annotation
        self._convert, self._to_builtins, self._refusal = msgspec.convert, msgspec.to_builtins, msgspec.ValidationError

    def accept(self, value: Any) -> Any:
        try:
            return self._convert(value, self._type, strict=True, str_keys=True)
        except self._refusal as problem:
            sentence, _, path = str(problem).partition(" - at ")
            raise Unfit(_told(path.strip("`") or "$", sentence)) from None

    def dump(self, value: Any) -> Any:
        """Give plain data, read back as the type: a dataclass does not check its own fields."""
        try:
            plain = self._plain(value)
        except (TypeError, ValueError, RecursionError) as problem:
            jsonvalue.encode(value)  # says where it is no JSON
            raise Unfit(str(problem)) from None
        self.accept(plain)
        return plain

    def _plain(self, value: Any) -> Any:
        """Give plain data; of a dataclass all fields, where msgspec leaves out defaults of instances that it made."""
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {each.name: self._plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
        if isinstance(value, dict):
            keys = self._to_builtins(dict.fromkeys(value), str_keys=True)
            return dict(zip(keys, map(self._plain, value.values()), strict=True))
        if isinstance(value, list | tuple | set | frozenset):
            return [self._plain(element) for element in value]
        return self._to_builtins(value, str_keys=True)


class _Pydantic:
    def __init__(self, annotation: Any, *, strict: bool | None) -> None:
        import pydantic
        from pydantic_core import PydanticSerializationError

        try:
            self._adapter = pydantic.TypeAdapter(annotation)
        except (pydantic.errors.PydanticUserError, NameError) as problem:
            sentence = str(problem).partition("\n")[0]
            raise DefinitionError(f"no value can be held to the type {annotation}: {sentence}") from None
        self._strict = strict
        self._refusal, self._unserializable = pydantic.ValidationError, PydanticSerializationError

    def accept(self, value: Any) -> Any:
        return self._read(jsonvalue.encode(value) or "null")

    def dump(self, value: Any) -> Any:
        try:
            instance = self._adapter.validate_python(value, strict=self._strict)
        except self._refusal:
            instance = self.accept(value)  # plain data, by the rules of JSON
        try:
            return self._adapter.dump_python(instance, mode="json", by_alias=True, warnings="error")
        except self._unserializable:  # a field was given what it does not say: where?
            plain = self._adapter.dump_python(instance, mode="json", by_alias=True, warnings="none", fallback=repr)
            self._read(jsonvalue.encode(plain) or "null")
            return plain

    def _read(self, text: str) -> Any:
        try:
            return self._adapter.validate_json(text, strict=self._strict)
        except self._refusal as problem:
            errors = problem.errors(include_url=False, include_context=False)
            told = [_told(jsonvalue.path_text(error["loc"]), error["msg"], _value_of(error)) for error in errors]
            more = [f"and {len(told) - _MOST_PROBLEMS} more"] if len(told) > _MOST_PROBLEMS else []
            raise Unfit("; ".join(told[:_MOST_PROBLEMS] + more)) from None


_KINDS: Final = {dict: "object", list: "array", type(None): "null"}
_NOTHING: Final = object()


def _value_of(error: Any) -> Any:
    return _NOTHING if error["type"] == "missing" else error["input"]


def _told(path: str, sentence: str, value: Any = _NOTHING) -> str:
    """Say ``at `$.rows[3].price`: expected `int`, got `str` ``; libraries that do not name the kind get it added."""
    got = "" if value is _NOTHING else f", got `{_KINDS.get(type(value), type(value).__name__)}`"
    return f"at `{path}`: {sentence[:1].lower()}{sentence[1:]}{got}"
