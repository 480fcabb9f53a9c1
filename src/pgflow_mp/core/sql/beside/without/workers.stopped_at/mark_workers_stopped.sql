-- Notes that workers have stopped; unknown ones are no error. A core before 0.10 has no column for that: a worker that is
-- deprecated and was heard of at the epoch is one that stopped, and nobody else takes it for a live one.
create or replace function pgflow_mp.mark_workers_stopped(worker_ids uuid[])
returns void
language sql
set search_path = ''
as $$
  update "pgflow".workers as w
  set deprecated_at = clock_timestamp(),
      last_heartbeat_at = 'epoch'
  where w.worker_id = any (worker_ids);
$$;
