"""Doubles: what a step does in a test instead of what it does in production.

``replace={"charge": ...}`` gives a step a fixed output, a function to call in its place, an exception to raise,
or `fails`: an exception for some attempts and then any of the others, or the step's own handler. The flow keeps
its shape, so the database cannot tell the difference. A double is plain data and functions: it travels to a
child process like the handler that it stands for.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pgflow_mp.context import Context
    from pgflow_mp.definition import FlowDefinition, StepDefinition


class _Own:
    """The step's own handler."""

    def __repr__(self) -> str:
        return "the step's own handler"


OWN = _Own()


class Injected(Exception):  # noqa: N818 - it is no error of anybody's
    """A failure that a test asked for."""


@dataclass(frozen=True, slots=True)
class Failing:
    """What `fails` returns: fail some attempts, then do something else."""

    times: int
    error: BaseException | type[BaseException]
    then: Any


def fails(times: int = 1, then: Any = OWN, *, error: BaseException | type[BaseException] | None = None) -> Failing:
    """Let a step fail the first attempts of each of its tasks.

    Args:
        times: How many attempts fail.
        then: What the attempts after them do: a fixed output, a function, or the step's own handler (default).
        error: What the failing attempts raise.
    """
    if times < 1:
        raise ValueError(f"fails(times={times!r}): at least 1 attempt fails")
    if error is not None and not _is_exception(error):
        raise TypeError(f"fails(error={error!r}): give an exception to raise")
    return Failing(times, error or Injected("this attempt fails because the test asked for it"), then)


def with_doubles(flow: FlowDefinition, doubles: Mapping[str, Any] | None) -> FlowDefinition:
    """Return the flow with the doubles in the place of handlers.

    Raises:
        StepNotFound: There is no step of that name; lists those there are.
        DefinitionError: A function in the place of a handler asks for something that is no dependency.
    """
    if not doubles:
        return flow
    for slug in doubles:
        flow.step(slug)
    steps = tuple(_double(step, doubles[step.slug]) if step.slug in doubles else step for step in flow.steps)
    # Without a source: whoever follows it would find the flow as it is in production.
    return replace(flow, steps=steps, source=None)


def _double(step: StepDefinition, double: Any) -> StepDefinition:
    return replace(step, handler=_handler(step, double))


def _handler(step: StepDefinition, double: Any) -> Callable[..., Any] | None:
    if isinstance(double, Failing):
        return FailFirst(double.times, double.error, _handler(step, double.then))
    if isinstance(double, _Own):
        return step.handler
    if _is_exception(double):
        return Raises(double)
    if callable(double):
        return double  # type: ignore[no-any-return]
    if step.is_map and isinstance(double, list):
        return ReturnsEach(step.slug, double)
    return Returns(double)


def _is_exception(value: object) -> bool:
    return isinstance(value, BaseException) or (isinstance(value, type) and issubclass(value, BaseException))


class Returns:
    """A handler with a fixed output."""

    def __init__(self, output: Any) -> None:
        self._output = output

    def __call__(self) -> Any:
        return self._output


class ReturnsEach:
    """A handler of a map step that was given the output of the whole step: each task returns its element."""

    def __init__(self, slug: str, outputs: list[Any]) -> None:
        self._slug = slug
        self._outputs = outputs

    def __call__(self, ctx: Context) -> Any:
        try:
            return self._outputs[ctx.task_index]
        except IndexError:
            raise AssertionError(
                f"replace={{{self._slug!r}: [...]}} gives {len(self._outputs)} outputs, "
                f"and the map step has a task {ctx.task_index}"
            ) from None


class Raises:
    """A handler that raises."""

    def __init__(self, error: BaseException | type[BaseException]) -> None:
        self._error = error

    def __call__(self) -> Any:
        raise _fresh(self._error)


class FailFirst:
    """A handler that raises in the first attempts and calls another one later.

    Its signature is that of the other one and `ctx`, so it is given what that one asks for. Which attempt it is
    says the context and not a counter: the attempts of a task may run in different processes.
    """

    def __init__(
        self, times: int, error: BaseException | type[BaseException], handler: Callable[..., Any] | None
    ) -> None:
        self._times = times
        self._error = error
        self._handler = handler or Returns(None)
        signature = inspect.signature(self._handler)
        self._wants_ctx = "ctx" in signature.parameters
        self.__signature__ = signature if self._wants_ctx else _with_ctx(signature)

    def __call__(self, *, ctx: Context, **values: Any) -> Any:
        if ctx.attempt <= self._times:
            raise _fresh(self._error)
        if self._wants_ctx:
            values["ctx"] = ctx
        return self._handler(**values)


def _fresh(error: BaseException | type[BaseException]) -> BaseException:
    """Return the exception to raise, without the traceback of the last time."""
    return (error() if isinstance(error, type) else error).with_traceback(None)


def _with_ctx(signature: inspect.Signature) -> inspect.Signature:
    ctx = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY)
    return signature.replace(parameters=[*signature.parameters.values(), ctx])
