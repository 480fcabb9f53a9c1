-- Makes the row of a worker, or renews it: it beats and has not stopped. An operator's deprecation stays; that of a worker
-- which had stopped was its stop (mark_workers_stopped).
create or replace function pgflow.register_worker(p_worker_id uuid, p_queue_name text, p_function_name text)
returns void
language sql
set search_path = ''
as $$
  insert into "pgflow".workers as w (worker_id, queue_name, function_name, started_at, last_heartbeat_at)
  values (p_worker_id, p_queue_name, p_function_name, clock_timestamp(), clock_timestamp())
  on conflict (worker_id) do update
  set queue_name = excluded.queue_name,
      function_name = excluded.function_name,
      last_heartbeat_at = excluded.last_heartbeat_at,
      deprecated_at = case when w.last_heartbeat_at > 'epoch' then w.deprecated_at end;
$$;
