"""Finished runs, made without running them: what a database holds after months."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

_CHUNK = 100_000

# Ids as of long ago, in time order, as they come in a real life.
_RUNS = """
with made as (
  insert into pgflow.runs (run_id, flow_slug, status, input, output, remaining_steps, started_at, completed_at)
  select
    (lpad(to_hex(1600000000000 + n), 12, '0') || '7000' || 'a' || substr(md5(n::text), 1, 15))::uuid,
    %(slug)s, 'completed', '{}', '{"only": 1}', 0, now() - interval '30 days', now() - interval '30 days'
  from generate_series(%(first)s::bigint, %(last)s::bigint) as n
  returning run_id, flow_slug, started_at, completed_at
),
state as (
  insert into pgflow.step_states (
    flow_slug, run_id, step_slug, status, remaining_tasks, initial_tasks, output, created_at, started_at, completed_at)
  select flow_slug, run_id, 'only', 'completed', 0, 1, '1', started_at, started_at, completed_at
  from made
  returning flow_slug, run_id, started_at, completed_at
)
insert into pgflow.step_tasks (
  flow_slug, run_id, step_slug, message_id, status, attempts_count, output, queued_at, started_at, completed_at,
  queue_name)
select
  s.flow_slug, s.run_id, 'only', -row_number() over () - %(first)s, 'completed', 1, '1', s.started_at, s.started_at,
  s.completed_at, %(slug)s
from state as s
"""


def bury(conn: psycopg.Connection[Any], slug: str, count: int) -> None:
    """Insert `count` completed runs of a flow whose only step is named ``only``, and let the tables settle.

    The rows go in as they are, without foreign keys being looked up; a vacuum stands for the autovacuum that a
    table of this age has seen many times.
    """
    conn.execute("set session_replication_role = replica")
    for first in range(0, count, _CHUNK):
        conn.execute(_RUNS, {"slug": slug, "first": first, "last": min(first + _CHUNK, count) - 1})
    conn.execute("reset session_replication_role")
    conn.execute("vacuum (analyze) pgflow.runs, pgflow.step_states, pgflow.step_tasks")
    conn.execute("checkpoint")
