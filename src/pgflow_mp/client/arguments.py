"""What callers give, made into what statements take: flows, run ids, inputs, connections.

Both faces share this module; it does no I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import UUID

from pgflow_mp import jsonvalue
from pgflow_mp.errors import InvalidInput, InvalidRunId
from pgflow_mp.flow import Flow, as_definition

if TYPE_CHECKING:
    from pgflow_mp.definition import FlowDefinition

__all__ = ["NO_INPUT", "FlowRef", "encoded_input", "run_id_of", "slug_of"]

FlowRef: TypeAlias = "type[Flow] | FlowDefinition | str"
"""A flow as callers name it: its class, its definition, or its slug."""

NO_INPUT: Final[Any] = object()
"""No input was given; told apart from None, which is JSON null."""


def slug_of(flow: FlowRef) -> str:
    """Return the slug of a flow."""
    return flow if isinstance(flow, str) else as_definition(flow).slug


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


def encoded_input(value: object) -> str:
    """Return an input as JSON text; `NO_INPUT` is `{}`.

    Raises:
        InvalidInput: It is no JSON; names the path of the part that is none.
    """
    encoded = jsonvalue.encode({} if value is NO_INPUT else value, error=InvalidInput)
    return "null" if encoded is None else encoded
