"""The statement that finds and mends what nothing would ever move again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgflow_mp.core.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

__all__ = ["Damage", "repair"]


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is broken; what does not belong to its kind is None.

    Attributes:
        damage: What is wrong, in words; the kinds are listed in ``core/sql/repair/repair.sql``.
        flow_slug: The flow.
        run_id: The run.
        step_slug: The step.
        task_index: The task of the step.
        queue_name: The queue.
        message_id: The message in the queue.
        mended: Whether it is mended now; always False in a dry run.
    """

    damage: str
    flow_slug: str | None
    run_id: UUID | None
    step_slug: str | None
    task_index: int | None
    queue_name: str | None
    message_id: int | None
    mended: bool


_REPAIR = """
select damage, flow_slug, run_id, step_slug, task_index, queue_name, message_id, mended
from pgflow_mp.repair(dry_run => %s::boolean, flow_slugs => %s::text[])
"""


def repair(*, dry_run: bool = True, flow_slugs: Sequence[str] | None = None) -> Statement[list[Damage]]:
    """Find stuck rows and, unless `dry_run`, mend them; work that goes on normally is left alone.

    A look over all runs reads the tables once: it is for operators, not for every minute.

    Args:
        dry_run: Only tell what is broken.
        flow_slugs: Look at these flows alone.
    """
    params = (dry_run, None if flow_slugs is None else list(flow_slugs))
    return Statement(_REPAIR, params, lambda found: [Damage(*row) for row in found])
