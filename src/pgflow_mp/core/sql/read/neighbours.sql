-- The processes of our workers that never said that they stopped, on one machine and in one container.
create or replace function pgflow_mp.neighbours(boot_id text, pid_namespace text)
returns setof pgflow_mp.workers
language sql
stable
set search_path = ''
as $$
  select ours.*
  from pgflow_mp.workers as ours
  join pgflow.workers as w on w.worker_id = ours.worker_id
  where w.stopped_at is null
    and ours.boot_id = neighbours.boot_id
    and ours.pid_namespace = neighbours.pid_namespace;
$$;
