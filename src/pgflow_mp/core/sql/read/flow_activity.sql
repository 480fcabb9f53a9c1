-- What goes on in each flow: how many live workers of any language serve it (heard of within 30 s), and its latest run.
-- Runs with the owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.flow_activity()
returns table (flow_slug text, live_workers bigint, latest_run_id uuid, latest_status text, latest_at timestamptz)
language sql
stable
security definer
set search_path = ''
as $$
  select f.flow_slug, serving.workers, latest.run_id, latest.status, latest.started_at
  from pgflow.flows as f
  cross join lateral (
    select count(distinct w.worker_id) as workers
    from pgflow.steps as s
    join pgflow.workers as w on lower(w.queue_name) = s.queue_name
    where s.flow_slug = f.flow_slug
      and w.stopped_at is null
      and w.deprecated_at is null
      and w.last_heartbeat_at >= clock_timestamp() - interval '30 seconds'
  ) as serving
  left join lateral (
    select r.run_id, r.status, r.started_at
    from pgflow.runs as r
    where r.flow_slug = f.flow_slug
    order by r.started_at desc
    limit 1
  ) as latest on true
  order by f.flow_slug collate "C";
$$;
