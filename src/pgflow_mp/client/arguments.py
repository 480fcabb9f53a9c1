"""What callers give, made into what statements take: flows, run ids, inputs, connections.

Both faces share this module; it does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args
from uuid import UUID

from pgflow_mp import jsonvalue
from pgflow_mp.checking import Unfit
from pgflow_mp.core.queries.runs import Keys, RunFilter
from pgflow_mp.definition import FlowDefinition
from pgflow_mp.errors import InvalidInput, InvalidRunId, OutputError, PgflowError
from pgflow_mp.flow import Flow, as_definition
from pgflow_mp.handler import encode_input
from pgflow_mp.ids import new_id
from pgflow_mp.rules import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgflow_mp.results import Run

__all__ = [
    "NO_INPUT",
    "FlowRef",
    "RunStatus",
    "aware",
    "encoded_input",
    "flows_of",
    "ids_for",
    "many",
    "page_size",
    "run_filter",
    "run_id_of",
    "run_keys",
    "slug_of",
    "with_typed_output",
]

FlowRef: TypeAlias = "type[Flow] | FlowDefinition | str"
"""A flow as callers name it: its class, its definition, or its slug."""

NO_INPUT: Final[Any] = object()
"""No input was given; told apart from None, which is JSON null."""


RunStatus: TypeAlias = Literal["started", "completed", "failed"]
"""The contract's words for what became of a run (core 2.4)."""

MOST_ON_A_PAGE = 1000

WHOLE_FLOW = "(flow)"
"""The key of a start that is unique while running and names no key."""


def slug_of(flow: FlowRef) -> str:
    """Return the slug of a flow."""
    return flow if isinstance(flow, str) else as_definition(flow).slug


def flows_of(flow: FlowRef | Sequence[FlowRef]) -> Sequence[FlowRef]:
    """Return one flow or several as several."""
    return [flow] if isinstance(flow, str | type | FlowDefinition) else flow


def run_id_of(run_id: UUID | str) -> UUID:
    """Return the run id as a UUID.

    Raises:
        InvalidRunId: The text is no UUID.
    """
    if isinstance(run_id, UUID):
        return run_id
    try:
        return UUID(run_id)
    except (ValueError, AttributeError, TypeError):
        raise InvalidRunId(f"{run_id!r} is no run id: a run id is a UUID") from None


def with_typed_output(run: Run[Any], definition: FlowDefinition | None) -> Run[Any]:
    """Return the run with its output as the type that its flow says; as it is where that says nothing.

    Raises:
        OutputError: The output is not of that type.
        PgflowError: It is a run of another flow.
    """
    if definition is None:
        return run
    if run.flow_slug != definition.slug:
        raise PgflowError(f"run {run.run_id} is one of flow `{run.flow_slug}`, not of `{definition.slug}`")
    check = definition.output_type
    if check is None or not run.completed:
        return run
    try:
        return replace(run, output=check.accept(run.output))
    except Unfit as problem:
        raise OutputError(
            f"run {run.run_id} of flow `{run.flow_slug}` completed, but its output is no `{check}`: {problem}"
        ) from None


def encoded_input(value: object, definition: FlowDefinition | None = None) -> str:
    """Return an input as JSON text; `NO_INPUT` is `{}`.

    Args:
        value: What the caller gave.
        definition: The flow, where it is known here; its types are asked.

    Raises:
        InvalidInput: It is no JSON, or not of the type that the flow takes; names the path of the part that is not.
    """
    given = {} if value is NO_INPUT else value
    if definition is not None:
        return encode_input(definition, given)
    encoded = jsonvalue.encode(given, error=InvalidInput)
    return "null" if encoded is None else encoded


def many(values: Iterable[Any], *, name: str) -> list[Any]:
    """Return what was given for many runs as a list, so that it can be gone through more than once.

    A text and an object can be gone through too, but as characters and keys, which nobody means.

    Raises:
        InvalidInput: It is a single value.
    """
    if isinstance(values, str | bytes | bytearray | Mapping) or not isinstance(values, Iterable):
        raise InvalidInput(f"{name} takes a list with one value for each run, not {shown(values)}; for one run: [...]")
    return list(values)


def ids_for(inputs: Sequence[object], run_ids: Iterable[UUID] | None) -> list[UUID]:
    """Return an id for each run: those given, or new ones.

    Raises:
        InvalidRunId: One is no UUID.
        InvalidInput: There are not as many ids as inputs.
    """
    if run_ids is None:
        return [new_id() for _ in inputs]
    ids = [run_id_of(run_id) for run_id in many(run_ids, name="run_ids")]
    if len(ids) != len(inputs):
        raise InvalidInput(f"{len(ids)} run ids were given for {len(inputs)} inputs; give one for each, or none")
    return ids


MOST_KEY_CHARACTERS = 512


def run_keys(given: Iterable[str | None] | None, *, count: int, while_running: bool) -> Keys | None:
    """Return the idempotency keys for so many runs; None where there is none.

    Raises:
        InvalidInput: A key is no text of 1 to 512 characters, or there are not as many keys as runs.
    """
    if given is None and not while_running:
        return None
    keys: list[str | None] = [WHOLE_FLOW] * count if given is None else many(given, name="idempotency_keys")
    if len(keys) != count:
        raise InvalidInput(f"{len(keys)} idempotency keys were given for {count} runs; give one for each, or None")
    for key in keys:
        if key is not None and not (isinstance(key, str) and 0 < len(key) <= MOST_KEY_CHARACTERS and "\0" not in key):
            raise InvalidInput(f"{key!r} is no idempotency key: it is a text of 1 to {MOST_KEY_CHARACTERS} characters")
    return Keys(keys, while_running) if any(key is not None for key in keys) else None


def aware(name: str, moment: datetime | None) -> datetime | None:
    """Return the instant.

    Raises:
        InvalidInput: It is no datetime, or has no time zone, so it is not known which instant it is.
    """
    if moment is not None and not isinstance(moment, datetime):
        raise InvalidInput(f"{name} must be a datetime with a time zone, not {shown(moment)}")
    if moment is not None and moment.utcoffset() is None:
        raise InvalidInput(
            f"{name}={moment.isoformat()} has no time zone; say which is meant, such as "
            "datetime.now(UTC) or moment.replace(tzinfo=ZoneInfo('Europe/Berlin'))"
        )
    return moment


def page_size(limit: int) -> int:
    """Return how many runs a page has.

    Raises:
        InvalidInput: It is not from 1 to `MOST_ON_A_PAGE`.
    """
    if not isinstance(limit, int) or not 1 <= limit <= MOST_ON_A_PAGE:
        raise InvalidInput(f"limit={limit!r} is not possible: a page has 1 to {MOST_ON_A_PAGE} runs")
    return limit


def run_filter(
    flow: FlowRef | Sequence[FlowRef] | None,
    status: RunStatus | Sequence[RunStatus] | None,
    cancelled: bool | None,  # noqa: FBT001 - a condition like the others
    started_after: datetime | None,
    started_before: datetime | None,
    input_contains: object,
) -> RunFilter:
    """Return the conditions as the statement takes them.

    Raises:
        InvalidInput: One cannot be met by any run.
    """
    statuses = [status] if isinstance(status, str) else status
    given: Sequence[str] = statuses or ()
    for word in given:
        if word not in get_args(RunStatus):
            hint = "; for cancelled runs give cancelled=True" if word == "cancelled" else ""
            raise InvalidInput(f"no run has status {word!r}; statuses are {', '.join(get_args(RunStatus))}{hint}")
    return RunFilter(
        flow_slugs=None if flow is None else [slug_of(one) for one in flows_of(flow)],
        statuses=statuses,
        cancelled=cancelled,
        started_after=aware("started_after", started_after),
        started_before=aware("started_before", started_before),
        input_contains=None if input_contains is NO_INPUT else encoded_input(input_contains),
    )
