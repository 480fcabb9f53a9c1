"""What a health check answers: facts about database, workers and flows, and what is wrong with them in sentences.

A check never raises for what it is there to find: a database that does not answer is a status.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pgflow_mp.core import scripts
from pgflow_mp.core.drift import Made, reason
from pgflow_mp.errors import NotInstalled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

    from pgflow_mp.core.queries.health import Findings, Installation, WorkerRow
    from pgflow_mp.errors import DatabaseUnreachable

__all__ = [
    "FlowHealth",
    "HealthReport",
    "HealthStatus",
    "WorkerHealth",
    "WorkerState",
    "judge",
    "no_answer",
]

HealthStatus = Literal["healthy", "degraded", "not_installed", "unreachable"]
WorkerState = Literal["live", "stale", "dead", "finishing"]

# The family's judgement of a silent worker: one of ours beats every 4 s, one of another language at each poll.
LIVE_SECONDS = 30.0
STALE_SECONDS = 60.0

# Messages that nobody takes for so long are worth a sentence.
WAITING_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """A worker, of whatever language; there is one for each flow that a process serves.

    Attributes:
        worker_id: Its id.
        state: `live` (heard of within 30 s), `stale` (60 s), `dead`, or `finishing` (asked to, and not silent yet).
        queue_name: The queue that it serves: the flow's slug in lower case, unless steps have queues of their own.
        function_name: The deployment unit.
        started_at: When it started.
        silent_seconds: Since it was last heard of.
        host: Where it runs; None for workers of other languages, as the next two.
        pid: Its process there.
        version: Of its pgflow-mp.
    """

    worker_id: UUID
    state: WorkerState
    queue_name: str
    function_name: str
    started_at: datetime
    silent_seconds: float
    host: str | None
    pid: int | None
    version: str | None


@dataclass(frozen=True, slots=True)
class FlowHealth:
    """A flow's queues and those who serve them.

    Attributes:
        slug: The flow.
        live_workers: How many live workers serve a queue of it.
        ready: Messages that a worker could take now.
        invisible: Messages that are delayed, wait for a retry, or are with a worker.
        oldest_seconds: How long the message that has been ready for longest has waited; None where none is.
        paused_at: Since when workers of pgflow-mp leave it alone (D-20); None when it is not paused.
    """

    slug: str
    live_workers: int
    ready: int
    invisible: int
    oldest_seconds: float | None
    paused_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What a health check found.

    Attributes:
        status: `healthy`, `degraded` (something needs attention), `not_installed` or `unreachable`.
        problems: What is wrong, one sentence each; empty if and only if healthy.
        installation: What is installed; None where nothing is, or nobody answered.
        workers: Workers that never said that they stopped and were heard of within the last hour, by queue.
        flows: All flows of the database by slug.
    """

    status: HealthStatus
    problems: tuple[str, ...] = ()
    installation: Installation | None = None
    workers: tuple[WorkerHealth, ...] = ()
    flows: tuple[FlowHealth, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it is healthy."""
        return self.status == "healthy"

    @property
    def live_workers(self) -> tuple[WorkerHealth, ...]:
        """The workers that take tasks."""
        return tuple(worker for worker in self.workers if worker.state == "live")


def no_answer(error: DatabaseUnreachable | NotInstalled) -> HealthReport:
    """Return the report for a database that could not be asked, or in which our functions were not found."""
    return HealthReport("not_installed" if isinstance(error, NotInstalled) else "unreachable", (str(error),))


def judge(found: Findings) -> HealthReport:
    """Return the report for what the database told."""
    workers = tuple(_worker(row) for row in found.workers)
    flows = tuple(_flows(found, workers))
    problems = (*_of_installation(found), *_of_queues(found), *_of_flows(flows))
    return HealthReport("degraded" if problems else "healthy", problems, found.installation, workers, flows)


def _worker(row: WorkerRow) -> WorkerHealth:
    return WorkerHealth(
        worker_id=row.worker_id,
        state=_state(row),
        queue_name=row.queue_name,
        function_name=row.function_name,
        started_at=row.started_at,
        silent_seconds=row.silent_seconds,
        host=row.host,
        pid=row.pid,
        version=row.version,
    )


def _state(row: WorkerRow) -> WorkerState:
    if row.silent_seconds > STALE_SECONDS:
        return "dead"
    if row.deprecated:
        return "finishing"
    return "live" if row.silent_seconds <= LIVE_SECONDS else "stale"


def _flows(found: Findings, workers: tuple[WorkerHealth, ...]) -> Iterator[FlowHealth]:
    for slug, queues in sorted(found.queues.items()):
        depths = [depth for depth in found.depths if depth.flow_slug == slug]
        waits = [depth.oldest_seconds for depth in depths if depth.oldest_seconds is not None]
        yield FlowHealth(
            slug=slug,
            live_workers=sum(worker.state == "live" and worker.queue_name.lower() in queues for worker in workers),
            ready=sum(depth.ready for depth in depths),
            invisible=sum(depth.invisible for depth in depths),
            oldest_seconds=max(waits, default=None),
            paused_at=found.paused.get(slug),
        )


def _of_installation(found: Findings) -> Iterator[str]:
    installation = found.installation
    if found.core is not None:
        functions = Made(installation.package_version, installation.core, installation.core_fingerprint)
        changed = reason(found.core, functions)
        yield from () if changed is None else (changed,)
    ours = scripts.migrations(scripts.root())[-1][0]
    if installation.schema_version != ours:
        behind = installation.schema_version < ours
        yield (
            f"the database has version {installation.schema_version} of pgflow's tables and this package knows version "
            f"{ours}: {'run `pgflow-mp install`' if behind else 'update the package'}"
        )


def _of_queues(found: Findings) -> Iterator[str]:
    there = {(depth.flow_slug, depth.queue_name) for depth in found.depths}
    for slug, queues in sorted(found.queues.items()):
        for queue in sorted(queues):
            if (slug, queue) not in there:
                yield (
                    f"flow `{slug}`: the tables of its queue `{queue}` were dropped; "
                    "`pgflow-mp compile` makes them again"
                )


def _of_flows(flows: tuple[FlowHealth, ...]) -> Iterator[str]:
    for flow in flows:
        if flow.paused_at is not None:
            continue  # somebody wants it so
        if not flow.live_workers and flow.oldest_seconds is not None and flow.oldest_seconds > WAITING_SECONDS:
            yield (
                f"flow `{flow.slug}`: {flow.ready} {'task waits' if flow.ready == 1 else 'tasks wait'}, one for "
                f"{flow.oldest_seconds:.0f} s, and no live worker serves it; start one with `pgflow-mp serve`"
            )
