-- Notes that a worker has stopped; an unknown one is no error. Rule: core WK-2.
create or replace function pgflow.mark_worker_stopped(worker_id uuid)
returns void
language sql
set search_path = ''
as $$
  update pgflow.workers as w
  set stopped_at = clock_timestamp()
  where w.worker_id = mark_worker_stopped.worker_id;
$$;
