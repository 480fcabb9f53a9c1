"""What the annotations of a handler promise, read once when its step is defined.

An annotation that says more than JSON itself (a dataclass, a TypedDict, a pydantic model, a date, or something made
of such) becomes a `Check`; all others are for type checkers only, and cost nothing. Names are looked up where the
handler was written, the enclosing function included. One that does not exist yet (a class further down in the
module) is looked up again at its first use.
"""

from __future__ import annotations

import collections.abc
import functools
import inspect
import logging
import sys
import typing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pgflow_mp.checking import Check, says_more_than_json
from pgflow_mp.signature import CTX, signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger("pgflow_mp.flow")

OUTPUT: Final = "return"
"""What `__annotations__` calls the output."""

# Names that tools move under `if TYPE_CHECKING`, and that mean the same wherever they come from.
_COMMON: Final = {**vars(typing), **vars(collections.abc)}


class LaterCheck:
    """An annotation with names that did not exist when its step was defined.

    Args:
        handler: Where it is written.
        name: The parameter, or `OUTPUT`.
        annotation: As it is written.
        or_none: Whether None will do as well.
    """

    def __init__(self, handler: Callable[..., Any], name: str, annotation: Any, *, or_none: bool) -> None:
        self._handler = handler
        self._name = name
        self._annotation = annotation
        self._or_none = or_none

    def check(self) -> Check | None:
        """Look the names up now; without them the value is not checked, which is said once."""
        try:
            return _check(evaluated(self._annotation, self._handler), or_none=self._or_none)
        except NameError as problem:
            logger.warning(
                "%s: `%s` is annotated with %s, but %s; it is not checked. Is that imported under TYPE_CHECKING only?",
                getattr(self._handler, "__qualname__", self._handler),
                self._name,
                self._annotation,
                problem,
            )
            return None


@dataclass(frozen=True, slots=True, eq=False)
class Types:
    """The checks of a handler.

    Attributes:
        checks: By parameter, and for the output by `OUTPUT`; what is not in it is not checked.
    """

    checks: dict[str, Check | LaterCheck | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.checks)

    def of(self, name: str) -> Check | None:
        """Give the check of a parameter, or of `OUTPUT`; None where there is none."""
        check = self.checks.get(name)
        if isinstance(check, LaterCheck):
            check = self.checks[name] = check.check()
        return check

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel with all names looked up: where it goes, the module may not be."""
        return Types, ({name: self.of(name) for name in self.checks},)


def types_of(handler: Callable[..., Any], scope: Mapping[str, Any] | None = None) -> Types:
    """Read the annotations of a handler.

    Args:
        handler: The function; what cannot be a handler says nothing, which its step complains of.
        scope: Local names of the function in which it was written.
    """
    try:
        signature = signature_of(handler)
    except (ValueError, TypeError):
        return Types()
    annotated = {
        name: (parameter.annotation, parameter.default is None)
        for name, parameter in signature.parameters.items()
        if name != CTX and parameter.annotation is not parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    }
    if signature.return_annotation is not signature.empty:
        annotated[OUTPUT] = (signature.return_annotation, False)
    checks = {name: _read(handler, name, *annotation, scope) for name, annotation in annotated.items()}
    return Types({name: check for name, check in checks.items() if check is not None})


def _read(
    handler: Callable[..., Any],
    name: str,
    annotation: Any,
    or_none: bool,  # noqa: FBT001
    scope: Mapping[str, Any] | None,
) -> Check | LaterCheck | None:
    try:
        return _check(evaluated(annotation, handler, scope), or_none=or_none)
    except NameError:
        return LaterCheck(handler, name, annotation, or_none=or_none)


def _check(annotation: Any, *, or_none: bool = False) -> Check | None:
    if not says_more_than_json(annotation):
        return None
    return Check(annotation | None if or_none else annotation)


def check_of(annotation: Any, writer: Any, scope: Mapping[str, Any] | None = None) -> Check | None:
    """Give the check of one annotation; args and errors are those of `evaluated`."""
    return _check(evaluated(annotation, writer, scope))


def evaluated(annotation: Any, writer: Any, scope: Mapping[str, Any] | None = None) -> Any:
    """Give the type that an annotation means where it was written.

    Args:
        annotation: A type, or text that names one.
        writer: The function, or the class, whose module has the names.
        scope: Names that come before those of the module.

    Raises:
        NameError: A name does not exist there, or not yet.
    """
    names = _names_around(writer)
    try:
        return _evaluated(annotation, names, scope)
    except NameError:
        return _evaluated(annotation, {**_COMMON, **names}, scope)


def _evaluated(annotation: Any, names: dict[str, Any], scope: Mapping[str, Any] | None) -> Any:
    def bearer() -> None: ...

    bearer.__annotations__ = {"it": annotation}
    try:
        return typing.get_type_hints(bearer, names, dict(scope or {}), include_extras=True)["it"]
    except NameError:
        raise
    except Exception as problem:  # noqa: BLE001  (an annotation is any expression, and may fail in any way)
        raise NameError(f"it means no type: {problem}") from None


def _names_around(writer: Any) -> dict[str, Any]:
    function = inspect.unwrap(writer)
    while isinstance(function, functools.partial):
        function = function.func
    if not hasattr(function, "__globals__") and not isinstance(function, type):
        function = getattr(type(function), "__call__", function)  # noqa: B004  (whose names, not whether)
    names: dict[str, Any] | None = getattr(inspect.unwrap(function), "__globals__", None)
    if names is None:
        names = vars(sys.modules.get(getattr(function, "__module__", ""), typing))
    return names
