-- The workers of all languages, by flow and start; NULL asks for those of all flows, stopped ones are left out unless
-- asked for. What a worker has in hand is found through the queues. State: live (heard of within 30 s), stale (within
-- 60 s), dead, finishing (asked to, and not dead) or stopped.
-- Runs with the owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.worker_details(
  flow_slugs text[] default null,
  include_stopped boolean default false
)
returns table (
  worker_id uuid, flow_slug text, queue_name text, function_name text, state text, tasks bigint,
  host text, pid int, version text, started_at timestamptz, last_heartbeat_at timestamptz, stopped_at timestamptz,
  silent_seconds double precision
)
language sql
stable
security definer
set search_path = ''
as $$
  with held as materialized (
    select t.last_worker_id, count(*) as tasks
    from pgflow_mp._started_tasks(thorough => false) as t
    group by t.last_worker_id
  )
  select
    w.worker_id, route.flow_slug, w.queue_name, w.function_name,
    case
      when w.stopped_at is not null then 'stopped'
      when w.last_heartbeat_at < clock_timestamp() - interval '60 seconds' then 'dead'
      when w.deprecated_at is not null then 'finishing'
      when w.last_heartbeat_at < clock_timestamp() - interval '30 seconds' then 'stale'
      else 'live'
    end,
    coalesce(held.tasks, 0),
    ours.host, ours.pid, coalesce('pgflow-mp ' || ours.version, w.pgflow_version),
    w.started_at, w.last_heartbeat_at, w.stopped_at,
    extract(epoch from clock_timestamp() - w.last_heartbeat_at)::double precision
  from pgflow.workers as w
  left join pgflow_mp.workers as ours on ours.worker_id = w.worker_id
  left join lateral (
    select s.flow_slug
    from pgflow.steps as s
    where s.queue_name = lower(w.queue_name)
    limit 1
  ) as route on true
  left join held on held.last_worker_id = w.worker_id
  where (worker_details.flow_slugs is null or route.flow_slug = any(worker_details.flow_slugs))
    and (worker_details.include_stopped or w.stopped_at is null)
  order by route.flow_slug nulls last, w.started_at, w.worker_id;
$$;
