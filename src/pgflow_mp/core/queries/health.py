"""What a health check asks: the installation, the workers and the queues, all at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pgflow_mp.core.generation import Core, probe
from pgflow_mp.core.queries.queues import QueueDepth
from pgflow_mp.core.statement import Row, Statement

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Findings", "Installation", "WorkerRow", "findings"]

# Of a worker that was last heard of earlier than this nothing is said.
HEARD_WITHIN = "1 hour"


@dataclass(frozen=True, slots=True)
class Installation:
    """What is installed in a database.

    Attributes:
        database: Its name.
        server_version: Of PostgreSQL.
        schema_version: Of the tables (see `core/sql/migrations`).
        package_version: Of the pgflow-mp that installed it last.
        pgmq: How pgmq came here.
        mode: ``own`` where schema pgflow is ours, ``beside`` where it is somebody else's.
        core: Whose and of which generation, beside one; else None.
        core_fingerprint: What our functions were made for, beside one; else None.
    """

    database: str
    server_version: str
    schema_version: int
    package_version: str
    pgmq: str
    mode: str = "own"  # what follows is not told by functions of earlier versions
    core: str | None = None
    core_fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker that never said that it stopped.

    Attributes:
        worker_id: Its id.
        queue_name: The queue that it serves.
        function_name: The deployment unit.
        started_at: When it registered.
        silent_seconds: Since it was last heard of.
        deprecated: Whether it was asked to finish.
        host: Where it runs; None for workers of other languages, as the next two.
        pid: Its process there.
        version: Of its pgflow-mp.
    """

    worker_id: UUID
    queue_name: str
    function_name: str
    started_at: datetime
    silent_seconds: float
    deprecated: bool
    host: str | None
    pid: int | None
    version: str | None


@dataclass(frozen=True, slots=True)
class Findings:
    """What the database tells for a health check.

    Attributes:
        installation: What is installed.
        workers: Those heard of within an hour, by queue.
        queues: The queues of all flows by flow, also those whose tables are missing.
        depths: What waits in the queues that exist.
        paused: Since when flows are paused, of those that are.
        core: Beside which ours stand, as it is now; None where schema pgflow is ours.
    """

    installation: Installation
    workers: tuple[WorkerRow, ...]
    queues: Mapping[str, frozenset[str]]
    depths: tuple[QueueDepth, ...]
    paused: Mapping[str, datetime]
    core: Core | None


_FINDINGS = """
select
  pgflow_mp.installation()::text::json,
  (select json_agg(w) from pgflow_mp.list_workers(%s::interval) as w),
  (select json_agg(json_build_object('slug', f ->> 'flow_slug', 'mode', f ->> 'queue_mode',
     'queues', (select json_agg(s ->> 'queue_name') from jsonb_array_elements(f -> 'steps') as s)))
   from pgflow_mp.flow_details() as f),
  (select json_agg(d) from pgflow_mp.queue_depths() as d),
  (select json_object_agg(p.flow_slug, p.paused_at) from pgflow_mp.paused_flows() as p),
  case when pgflow_mp.installation() ->> 'mode' = 'beside' then ({probe}) end
"""


def findings() -> Statement[Findings]:
    """Ask for all that a health check needs; one round trip."""
    core = probe()
    return Statement(_FINDINGS.replace("{probe}", core.sql), (HEARD_WITHIN, *core.params), _read)


def _read(found: list[Row]) -> Findings:
    installation, workers, flows, depths, paused, facts = found[0]
    return Findings(
        installation=Installation(**installation),
        workers=tuple(_worker(row) for row in workers or ()),
        queues={flow["slug"]: _queues(flow) for flow in flows or ()},
        depths=tuple(QueueDepth(**row) for row in depths or ()),
        paused={slug: datetime.fromisoformat(at) for slug, at in (paused or {}).items()},
        core=None if facts is None else probe().read([(facts,)]),
    )


def _queues(flow: Mapping[str, Any]) -> frozenset[str]:
    own = {flow["slug"].lower()} if flow["mode"] == "flow" else set()
    return frozenset(own.union(flow["queues"] or ()))


def _worker(row: Mapping[str, Any]) -> WorkerRow:
    return WorkerRow(
        worker_id=UUID(row["worker_id"]),
        queue_name=row["queue_name"],
        function_name=row["function_name"],
        started_at=datetime.fromisoformat(row["started_at"]),
        silent_seconds=row["silent_seconds"],
        deprecated=row["deprecated_at"] is not None,
        host=row["host"],
        pid=row["pid"],
        version=row["version"],
    )
