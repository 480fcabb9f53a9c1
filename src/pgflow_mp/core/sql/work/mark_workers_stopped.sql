-- Notes that workers have stopped; unknown ones are no error. Rule: core WK-2, for several workers.
create or replace function pgflow_mp.mark_workers_stopped(worker_ids uuid[])
returns void
language sql
set search_path = ''
as $$
  update pgflow.workers as w
  set stopped_at = clock_timestamp()
  where w.worker_id = any (worker_ids);
$$;
