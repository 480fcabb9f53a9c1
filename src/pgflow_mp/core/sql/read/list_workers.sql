-- Workers that never said that they stopped and were heard of within `heard`, of whatever language: their row and, where
-- they are ours, host, pid and version; `silent_seconds` since they were last heard of. By queue, the latest first.
-- Runs with its owner's rights: clients may ask (D-11).
create or replace function pgflow_mp.list_workers(heard interval default '1 hour')
returns setof jsonb
language sql
stable
security definer
set search_path = ''
as $$
  select to_jsonb(w) || jsonb_build_object(
    'host', ours.host,
    'pid', ours.pid,
    'version', ours.version,
    'silent_seconds', greatest(extract(epoch from clock_timestamp() - w.last_heartbeat_at), 0)
  )
  from pgflow.workers as w
  left join pgflow_mp.workers as ours on ours.worker_id = w.worker_id
  where w.stopped_at is null
    and w.last_heartbeat_at > now() - heard
  order by w.queue_name, w.started_at desc, w.worker_id;
$$;
