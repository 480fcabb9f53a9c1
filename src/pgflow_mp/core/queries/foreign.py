"""What an examination asks of tables that are in every schema pgflow, whoever made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgflow_mp.core.statement import Row, Statement, value

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "MisjudgedTimeout",
    "RefusedSlug",
    "misjudged_timeouts",
    "recovery_jobs",
    "refused_slugs",
    "telemetry_is_on",
]

STALL_SECONDS = 30
"""What a recovery waits beyond a timeout (core ST-1)."""


@dataclass(frozen=True, slots=True)
class MisjudgedTimeout:
    """A step that may take longer than a recovery waits which looks at its flow's timeout alone (core ST-1, D2).

    Attributes:
        flow_slug: The flow.
        step_slug: The step.
        step_seconds: The step's own timeout.
        flow_seconds: The flow's.
    """

    flow_slug: str
    step_slug: str
    step_seconds: int
    flow_seconds: int


@dataclass(frozen=True, slots=True)
class RefusedSlug:
    """A slug that cores from 0.17 on refuse (generations SL-1, SL-2, 5.1).

    Attributes:
        flow_slug: The flow.
        step_slug: The step whose slug it is; None for the flow's.
        clash: The slug that differs from it by case only; None where the slug itself is refused.
    """

    flow_slug: str
    step_slug: str | None
    clash: str | None


_MISJUDGED = """
select s.flow_slug, s.step_slug, s.opt_timeout, f.opt_timeout
from pgflow.steps as s
join pgflow.flows as f on f.flow_slug = s.flow_slug
where s.opt_timeout > f.opt_timeout + %s
order by s.flow_slug, s.step_index
"""


def misjudged_timeouts() -> Statement[list[MisjudgedTimeout]]:
    """List the steps that a recovery by the flow's timeout takes from a worker that is at work on them."""

    def read(rows: Sequence[Row]) -> list[MisjudgedTimeout]:
        return [MisjudgedTimeout(*row) for row in rows]

    return Statement(_MISJUDGED, (STALL_SECONDS,), read)


_REFUSED = r"""
with slug (flow_slug, step_slug, text) as (
  select f.flow_slug, null, f.flow_slug from pgflow.flows as f
  union all
  select s.flow_slug, s.step_slug, s.step_slug from pgflow.steps as s
)
select slug.flow_slug, slug.step_slug, null
from slug
where slug.text !~ '^[A-Za-z](_?[A-Za-z0-9])*$'
union all
select later.flow_slug, later.step_slug, earlier.text
from slug as later
join slug as earlier
  on lower(earlier.text) = lower(later.text)
  and earlier.text collate "C" < later.text collate "C"
  and (earlier.step_slug is null) = (later.step_slug is null)
  and (later.step_slug is null or earlier.flow_slug = later.flow_slug)
order by 1, 2 nulls first, 3
"""


def refused_slugs() -> Statement[list[RefusedSlug]]:
    """List the slugs that newer cores refuse, or take for one."""

    def read(rows: Sequence[Row]) -> list[RefusedSlug]:
        return [RefusedSlug(*row) for row in rows]

    return Statement(_REFUSED, (), read)


_JOBS = (
    "select j.schedule from cron.job as j where j.active and j.command ~ '(requeue|recover)_stalled_tasks' order by 1"
)


def recovery_jobs() -> Statement[list[str]]:
    """List when pg_cron recovers stalled tasks, such as ``15 seconds``; it shows a role its own jobs only."""

    def read(rows: Sequence[Row]) -> list[str]:
        return [row[0] for row in rows]

    return Statement(_JOBS, (), read)


def telemetry_is_on() -> Statement[bool]:
    """Ask the core whether it reports to its makers each day (generations 6)."""
    return Statement("select pgflow_telemetry.job_is_scheduled()", (), value)
