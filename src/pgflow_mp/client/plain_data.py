"""Flows as plain data, taken apart: what the database's definition has, and what workers do a step by.

Both faces share this module; it does no I/O.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pgflow_mp import validation
from pgflow_mp.definition import DATA_KEYS, FlowDefinition
from pgflow_mp.errors import DefinitionError
from pgflow_mp.rules import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgflow_mp.definition import StepDefinition
    from pgflow_mp.registry import NamedHandler

_DONE_BY: Final = ("handler", "executor", "processes", "concurrency")


def from_plain_data(
    slug: str,
    steps: Sequence[Mapping[str, Any]],
    handlers: Mapping[str, NamedHandler[..., Any]],
    **options: int | None,
) -> FlowDefinition:
    """Return the definition, checked; handlers that are known here are checked against their steps.

    Args:
        slug: The flow.
        steps: As `upsert_flow` takes them.
        handlers: Those that this process knows; there may be others elsewhere.
        **options: Of the flow.

    Raises:
        DefinitionError: The data are no flow.
    """
    with validation.at(validation.named("flow", slug)):
        validation.check_entries(steps, DATA_KEYS)
    definition = FlowDefinition.from_data(slug, [_without_handler(slug, step) for step in steps], **options)  # type: ignore[arg-type]
    names = {step.slug: given.get("handler") or step.slug for step, given in zip(definition.steps, steps, strict=True)}
    return replace(definition, steps=tuple(_done(step, handlers.get(names[step.slug])) for step in definition.steps))


def done_by(steps: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what the database's definition has no place for: slug -> what the step is done by, where given."""
    found = {step["slug"]: {key: step[key] for key in _DONE_BY if step.get(key) is not None} for step in steps}
    return {slug: given for slug, given in found.items() if given}


def _without_handler(slug: str, step: Any) -> Any:
    """Check what only plain data for the database can have wrong."""
    with validation.at(validation.named("flow", slug), validation.named("step", step.get("slug"))):
        name = step.get("handler")
        if name is not None and not isinstance(name, str):
            raise DefinitionError(
                f"handler is a name, not {shown(name)}: the database cannot keep a function. "
                "Give PgFlow(handlers={'name': function}) and its name here"
            )
        if step.get("retry_on") is not None:
            raise DefinitionError(
                "retry_on is no plain data; say it where the handler gets its name, @handles(retry_on=)"
            )
    return {key: value for key, value in step.items() if key not in ("handler", "retry_on")}


def _done(step: StepDefinition, named: NamedHandler[..., Any] | None) -> StepDefinition:
    return step if named is None else replace(step, handler=named.function, is_registered=True)
