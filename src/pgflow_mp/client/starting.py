"""What starts runs, put together before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from pgflow_mp.core.queries.runs import StartedRun
    from pgflow_mp.core.statement import Statement
    from pgflow_mp.definition import FlowDefinition

__all__ = ["Start"]


@dataclass(frozen=True, slots=True)
class Start:
    """One or more runs of a flow that are to be started.

    Attributes:
        slug: The flow.
        run_ids: The id of each run.
        statement: Starts them.
        doing: What is attempted, as the subject of a sentence.
        flow: Its definition, where it is known here.
    """

    slug: str
    run_ids: Sequence[UUID]
    statement: Statement[list[StartedRun]]
    doing: str
    flow: FlowDefinition | None = None
