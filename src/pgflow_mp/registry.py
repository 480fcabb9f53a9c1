"""handles: functions by name, for flows that are made at run time from plain data.

Plain data cannot hold a function, so a step in them names one (`"handler": "send_mail"`; without it, the step's slug
is the name). The names are those that a worker was given, and no other: nothing in the database can make it import a
module or call a function that was not registered for this. Workers take a mapping of names to functions, or what
`handles` has decorated:

    @handles("send_mail", retry_on=OSError)
    def send(flow_input, ctx, **outputs): ...

    PgFlow(dsn, handlers=[send])        PgFlow(dsn, handlers={"send_mail": send})

Such a function may serve many flows, whose steps have names that it does not know: with `**outputs` it gets the outputs
of all steps that its own step depends on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeAlias, TypeVar, overload

from pgflow_mp.errors import DefinitionError
from pgflow_mp.flow import Step, source_of
from pgflow_mp.rules import exceptions_problem, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Handlers", "NamedHandler", "handles", "registered"]

P = ParamSpec("P")
R = TypeVar("R")

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}", re.ASCII)


@dataclass(frozen=True, slots=True)
class NamedHandler(Generic[P, R]):
    """A function with the name that plain data call it by; callable as the function is.

    Attributes:
        name: The name.
        function: The function.
        retry_on: What it may raise to be tried again; None is any exception.
        source: ``module:qualname`` where its name leads to it from outside, else None.
    """

    name: str
    function: Callable[P, R]
    retry_on: tuple[type[BaseException], ...] | None = None
    source: str | None = field(default=None, compare=False, repr=False)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function as the function it is."""
        return self.function(*args, **kwargs)


Handlers: TypeAlias = "Mapping[str, Callable[..., Any]] | Iterable[NamedHandler[..., Any]]"
"""Functions by name, as callers give them."""


@overload
def handles(function: Callable[P, R], /) -> NamedHandler[P, R]: ...
@overload
def handles(
    name: str | None = None, /, *, retry_on: type[BaseException] | Sequence[type[BaseException]] | None = None
) -> Callable[[Callable[P, R]], NamedHandler[P, R]]: ...
def handles(name: Any = None, /, *, retry_on: Any = None) -> Any:
    """Give a function a name that steps of plain data can call it by.

    Args:
        name: The name; by default the function's own.
        retry_on: The exception class or classes after which a failed attempt is tried again; else any.

    Raises:
        DefinitionError: The name cannot be one, or the function is none.
    """
    if callable(name):
        return _named(None, name, retry_on)
    return lambda function: _named(name, function, retry_on)


def registered(handlers: Handlers) -> dict[str, NamedHandler[..., Any]]:
    """Return the handlers by name.

    Raises:
        DefinitionError: One is no function, has a bad name, or there are two of one name.
    """
    if isinstance(handlers, Mapping):
        given = [
            _named(name, function.function, function.retry_on)
            if isinstance(function, NamedHandler)
            else _named(name, function, None)
            for name, function in handlers.items()
        ]
    else:
        given = list(handlers)
    found: dict[str, NamedHandler[..., Any]] = {}
    for named in given:
        if not isinstance(named, NamedHandler):
            raise DefinitionError(
                f"{shown(named)} has no name to be called by: decorate it with @handles, or give a dict of names"
            )
        if found.setdefault(named.name, named) is not named:
            raise DefinitionError(f"there are two handlers of the name `{named.name}`")
    return found


def _named(name: str | None, function: Any, retry_on: Any) -> NamedHandler[..., Any]:
    if isinstance(function, Step):
        function = function.handler
    if not callable(function) or isinstance(function, type):
        raise DefinitionError(f"a handler is a function, not {shown(function)}")
    wanted = getattr(function, "__name__", None) if name is None else name
    if not isinstance(wanted, str) or not _NAME.fullmatch(wanted):
        raise DefinitionError(
            f"{shown(wanted)} cannot be the name of a handler: a letter, then up to 127 letters, digits and `_.-`"
        )
    if retry_on is not None and (problem := exceptions_problem(retry_on)):
        raise DefinitionError(f"handler `{wanted}`: {problem}")
    several = (retry_on,) if isinstance(retry_on, type) else retry_on
    source = source_of(function) if hasattr(function, "__qualname__") else None
    return NamedHandler(wanted, function, None if several is None else tuple(several), source)
