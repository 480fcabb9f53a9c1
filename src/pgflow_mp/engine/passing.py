"""Passing over the steps that another worker takes.

In a rolling deploy, or where languages divide a flow's steps among them, a worker meets tasks that it does not know and
another one does. To claim them and give them back, again and again, would keep them from the other for as long as they
are hidden in between. So such a task goes back visible at once, and this worker claims no more of its step for a while.
It looks again then, for the other may be gone: from that moment nobody takes the step, and its clock runs
(`engine.strangers`).
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgflow_mp.core.queries.tasks import ClaimedTask
    from pgflow_mp.engine.sources import Source

PASS_SECONDS = 5.0
"""Until a step is looked at again that another worker may take."""


class Passing:
    """The steps that are left to others for now."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}

    def over(self, tasks: Iterable[ClaimedTask]) -> None:
        """Leave the steps of these tasks alone for `PASS_SECONDS`."""
        until = time.monotonic() + PASS_SECONDS
        self._until |= {(task.flow_slug, task.step_slug): until for task in tasks}

    def filter_of(self, source: Source) -> str | None:
        """Return the steps of a source, as `claim_tasks` takes them, without those that are left to others."""
        if not self._until or not source.is_rest:
            return source.filter
        now = time.monotonic()
        self._until = {step: until for step, until in self._until.items() if until > now}
        left = {step_slug for flow_slug, step_slug in self._until if flow_slug == source.flow_slug}
        return replace(source, steps=source.steps | left).filter
