-- Makes or renews the rows of one process that works for several flows: worker i serves flow i (and step i of it, where
-- that flow has a queue for every step; without step_slugs its first step). All share the function and the process.
-- The deployment unit is tracked as a process, which nobody starts by HTTP (generations 1.2.4).
-- Raises 23503 for a flow that does not exist. Rules: core WK-3, generations 8.2 (queue_name = the route), D-3.
create or replace function pgflow_mp.register_workers(
  worker_ids uuid[],
  flow_slugs text[],
  function_name text,
  host text,
  boot_id text,
  pid int,
  pid_namespace text,
  process_started text,
  version text,
  step_slugs text[] default null
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  worker record;
begin
  perform pgflow.track_worker_function(register_workers.function_name, 'process');
  for worker in
    select g.worker_id, g.flow_slug, route.queue_name
    from unnest(worker_ids, flow_slugs, step_slugs) with ordinality as g (worker_id, flow_slug, step_slug, place)
    left join lateral (
      select coalesce(s.queue_name, lower(f.flow_slug)) as queue_name
      from pgflow.flows as f
      left join pgflow.steps as s
        on f.queue_mode = 'step'
        and s.flow_slug = f.flow_slug
        and (g.step_slug is null or s.step_slug = g.step_slug)
      where f.flow_slug = g.flow_slug
      order by s.step_index
      limit 1
    ) as route on true
    where g.worker_id is not null
    order by g.place
  loop
    if worker.queue_name is null then
      raise exception 'flow "%" does not exist, so no worker can serve it', worker.flow_slug
        using errcode = 'foreign_key_violation';
    end if;
    perform pgflow.register_worker(worker.worker_id, worker.queue_name, register_workers.function_name);
  end loop;

  insert into pgflow_mp.workers (worker_id, host, boot_id, pid, pid_namespace, process_started, version)
  select
    w, register_workers.host, register_workers.boot_id, register_workers.pid, register_workers.pid_namespace,
    register_workers.process_started, register_workers.version
  from unnest(worker_ids) as w
  on conflict on constraint workers_pkey do update
  set host = excluded.host,
      boot_id = excluded.boot_id,
      pid = excluded.pid,
      pid_namespace = excluded.pid_namespace,
      process_started = excluded.process_started,
      version = excluded.version;
end;
$$;
