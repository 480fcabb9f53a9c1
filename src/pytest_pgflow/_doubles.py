"""Doubles: what a step does in a test instead of what it does in production.

``replace={"charge": ...}`` gives a step a fixed output, a function to call in its place, an exception to raise, or
trouble for some attempts (`pytest_pgflow._trouble`). The flow keeps its shape, so the database cannot tell the
difference. A double is plain data and functions: it travels to a child process like the handler that it stands for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pgflow_mp.errors import StepNotFound
from pytest_pgflow._trouble import Own, Trouble, TroubleFirst, fresh, is_exception

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pgflow_mp.context import Context
    from pgflow_mp.definition import FlowDefinition, StepDefinition


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


def with_doubles_of_each(flows: Sequence[FlowDefinition], doubles: Mapping[str, Any] | None) -> list[FlowDefinition]:
    """Return flows with the doubles of their own steps.

    Raises:
        StepNotFound: A double is of no step of any of them.
    """
    given = dict(doubles or {})
    steps = {step.slug for flow in flows for step in flow.steps}
    for slug in given:
        if slug not in steps:
            names = ", ".join(flow.slug for flow in flows)
            raise StepNotFound(f"none of {names} has a step {slug!r}; their steps are {', '.join(sorted(steps))}")
    return [
        with_doubles(flow, {step.slug: given[step.slug] for step in flow.steps if step.slug in given}) for flow in flows
    ]


def _double(step: StepDefinition, double: Any) -> StepDefinition:
    handler = _handler(step, double)
    return replace(step, handler=handler, types=step.types if handler is step.handler else None)


def _handler(step: StepDefinition, double: Any) -> Callable[..., Any] | None:
    if isinstance(double, Trouble):
        if double.task is not None and not step.is_map:
            raise ValueError(f"task={double.task}: step `{step.slug}` is no map step, it has one task")
        return TroubleFirst(double, _handler(step, double.then) or Returns(None))
    if isinstance(double, Own):
        return step.handler
    if is_exception(double):
        return Raises(double)
    if callable(double):
        return double  # type: ignore[no-any-return]
    if step.is_map and isinstance(double, list):
        return ReturnsEach(step.slug, double)
    return Returns(double)


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
        raise fresh(self._error)
