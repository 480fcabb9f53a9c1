"""One handler alone, as a task would run it: its input is JSON, its parameters are bound, its output is JSON."""

from __future__ import annotations

import uuid
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from pgflow_mp import handler, jsonvalue
from pgflow_mp.checking import Unfit
from pgflow_mp.context import Context
from pgflow_mp.errors import InvalidInput, OutputError
from pgflow_mp.executors.lending import AsyncLender, Lender
from pgflow_mp.executors.services import TaskServices
from pgflow_mp.rules import did_you_mean
from pgflow_mp.signature import FLOW_INPUT, ITEM
from pytest_pgflow._results import pruned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pgflow_mp.context import Services
    from pgflow_mp.definition import FlowDefinition, StepDefinition

ABSENT: Any = object()


def run_step(
    flow: FlowDefinition,
    slug: str,
    outputs: Mapping[str, Any],
    *,
    flow_input: Any = ABSENT,
    item: Any = ABSENT,
    ctx: Mapping[str, Any] | None = None,
    dsn: Callable[[], str] | None = None,
) -> Any:
    """Call the handler of a step and return its output, after the way through JSON.

    Raises:
        StepNotFound: The flow has no such step.
        InvalidInput: A value is missing, is none of the step's, or is no JSON.
        OutputError: What it returned is no JSON, or not what its annotation says.
        BaseException: Whatever the handler raises.
    """
    __tracebackhide__ = True
    step = flow.step(slug)
    _check(step, outputs, item)
    given = (
        _through_json(step, ITEM, item)
        if step.is_map
        else {name: _through_json(step, name, value) for name, value in outputs.items()}
    )
    run_input = _through_json(step, FLOW_INPUT, {} if flow_input is ABSENT else flow_input)
    try:
        with _services(run_input, dsn) as services:
            returned = handler.call(step, given, run_input, _context(flow, step, ctx or {}, services))
    except BaseException as error:
        pruned(error)
        raise
    try:
        return jsonvalue.decode(handler.encode_output(step, returned) or "null")
    except OutputError as error:
        raise OutputError(f"what step `{slug}` returned: {error}") from None


def _check(step: StepDefinition, outputs: Mapping[str, Any], item: Any) -> None:
    for name in outputs:
        if name not in step.deps:
            deps = ", ".join(step.deps) or "none"
            raise InvalidInput(
                f"step `{step.slug}` does not depend on `{name}`{did_you_mean(name, step.deps)}; it depends on {deps}"
            )
    for parameter in step.parameters:
        if parameter.is_dependency and not parameter.optional and parameter.name not in outputs and not step.is_map:
            raise InvalidInput(
                f"step `{step.slug}` needs the output of `{parameter.name}`: give it as {parameter.name}=..."
            )
    if step.is_map and (item is ABSENT or outputs):
        raise InvalidInput(f"step `{step.slug}` is a map step: give the element of one task as item=...")
    if not step.is_map and item is not ABSENT:
        raise InvalidInput(f"step `{step.slug}` is no map step, so it has no item")


def _through_json(step: StepDefinition, name: str, value: Any) -> Any:
    """Make a value what the database would give: values of the parameter's type are dumped, others as they are."""
    check = step.types.of(name) if step.types else None
    if check is not None:
        with suppress(Unfit):  # then the handler's own check tells
            value = check.dump(value)
    try:
        text = jsonvalue.encode(value, error=InvalidInput)
    except InvalidInput as error:
        raise InvalidInput(f"{name}=... for step `{step.slug}`: {error}") from None
    return None if text is None else jsonvalue.decode(text)


@contextmanager
def _services(run_input: Any, dsn: Callable[[], str] | None) -> Iterator[Services]:
    """Give the context what a worker would; progress is dropped, for there is no task that makes any."""

    def database() -> str:
        if dsn is None:
            raise InvalidInput("there is no database here for ctx.connection()")
        return dsn()

    async def database_async() -> str:
        return database()

    text = (jsonvalue.encode(run_input) or "null").encode()
    with closing(Lender(database)) as lender:
        yield TaskServices(lender, AsyncLender(database_async), lambda *_: None, lambda: text, text)


def _context(flow: FlowDefinition, step: StepDefinition, given: Mapping[str, Any], services: Services) -> Context:
    timeout = float(flow.policy(step.slug).timeout)
    known: dict[str, Any] = {"run_id": uuid.uuid4(), "task_index": 0, "attempt": 1, "timeout": timeout}
    for name in given:
        if name not in known:
            raise InvalidInput(f"ctx has no {name!r}{did_you_mean(name, known)}; give any of {', '.join(known)}")
    return Context.begin(flow_slug=flow.slug, step_slug=step.slug, services=services, **(known | dict(given)))
