"""What a handler asks for: its parameters, read once when its step is defined.

A handler takes its values by name. Reserved names bring the run (`flow_input`, `ctx`) or the element
of a map step (`item`); every other name is a dependency. So a signature must say its names: no
``*args``, no ``**kwargs``, nothing positional-only.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from pgflow_mp.rules import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FLOW_INPUT: Final = "flow_input"
CTX: Final = "ctx"
ITEM: Final = "item"
RESERVED: Final = (FLOW_INPUT, CTX, ITEM)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One named parameter of a handler.

    Attributes:
        name: A reserved name or the slug of a dependency; in a job, any name for the input.
        optional: It has a default, so the handler can be called without it.
        is_input: It brings the run's input, whatever its name: a job's only parameter besides `ctx`.
        is_rest: It is the ``**name`` of a registered handler: the outputs that no other parameter takes.
    """

    name: str
    optional: bool
    is_input: bool = False
    is_rest: bool = False

    @property
    def brings(self) -> str:
        """What arrives in it: a reserved name, or the slug of the dependency."""
        return FLOW_INPUT if self.is_input else self.name

    @property
    def is_dependency(self) -> bool:
        """Whether it names a step, not something of the run."""
        return self.brings not in RESERVED and not self.is_rest


_UNUSABLE: Final = {
    inspect.Parameter.POSITIONAL_ONLY: "is positional-only; values are passed by name, so drop the `/`",
    inspect.Parameter.VAR_POSITIONAL: "takes any number of values; name the dependencies one by one",
    inspect.Parameter.VAR_KEYWORD: "takes any names; name the dependencies one by one",
}


def parameters_of(handler: Callable[..., Any], *, rest: bool = False) -> tuple[Parameter, ...]:
    """Read the parameters of a handler.

    Args:
        handler: The function.
        rest: Whether it may take any outputs, as ``**outputs``.

    Raises:
        ValueError: With a sentence that says why this cannot be a handler.
    """
    _refuse_non_handlers(handler)
    try:
        signature = signature_of(handler)
    except (ValueError, TypeError):
        raise ValueError(
            f"the handler {shown(handler)} does not tell its parameters; wrap it in a `def` that names them"
        ) from None
    return tuple(_read(parameter, rest=rest) for parameter in signature.parameters.values())


def job_parameters(parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Let the one parameter that is no reserved name bring the input: what a job's handler calls it is its business.

    Raises:
        ValueError: With a sentence, when there are several such parameters.
    """
    inputs = [parameter.name for parameter in parameters if parameter.name != CTX]
    if ITEM in inputs:
        raise ValueError("a job has no `item`, its input is one value; for one task an element write a Flow")
    if len(inputs) > 1:
        raise ValueError(
            f"a job's function takes its input as one parameter, and `ctx`, but this one takes "
            f"{' and '.join(f'`{name}`' for name in inputs)}; put them into one JSON object"
        )
    return tuple(replace(parameter, is_input=parameter.name in inputs) for parameter in parameters)


def is_async(handler: object) -> bool:
    """Whether the handler is an `async def`, also behind decorators that keep its name, or an object called so."""
    try:
        return _is_async(handler)
    except TypeError:  # an object that cannot be a key
        return _is_async.__wrapped__(handler)


@lru_cache(maxsize=1024)  # asked several times for each task
def _is_async(handler: object) -> bool:
    if not callable(handler):
        return False
    function = inspect.unwrap(handler)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def signature_of(handler: Callable[..., Any]) -> inspect.Signature:
    """Read a signature; annotations stay as they are written where that is text, or names what does not exist."""
    if sys.version_info >= (3, 14):  # annotations are evaluated late there; those for type checkers only cannot be
        from annotationlib import Format

        return inspect.signature(handler, annotation_format=Format.FORWARDREF)
    return inspect.signature(handler)


def _refuse_non_handlers(handler: object) -> None:
    if not callable(handler):
        raise ValueError(f"the handler must be a function, not {shown(handler)}")  # noqa: TRY004  (see parameters_of)
    if inspect.isclass(handler):
        raise ValueError(f"the handler must be a function, not the class `{handler.__name__}`")
    if inspect.isasyncgenfunction(handler) or inspect.isgeneratorfunction(handler):
        raise ValueError(
            "the handler is a generator; a step has one output: collect the values in a list and return it "
            "(a map step over it then makes one task of each)"
        )


def _read(parameter: inspect.Parameter, *, rest: bool) -> Parameter:
    if rest and parameter.kind is parameter.VAR_KEYWORD:
        return Parameter(parameter.name, optional=True, is_rest=True)
    if parameter.kind in _UNUSABLE:
        raise ValueError(f"the parameter `{parameter}` {_UNUSABLE[parameter.kind]}")
    return Parameter(parameter.name, optional=parameter.default is not parameter.empty)
