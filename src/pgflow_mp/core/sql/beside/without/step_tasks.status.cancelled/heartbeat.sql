-- Beats for workers and answers, for each, whether it shall finish and exit. Rows are touched in one order, so that two
-- beats never wait for each other. A missing row says nothing before 0.16: deprecated is NULL then. Rules: core 4.7.2, C-7;
-- generations 8.2.
-- The recovery of a core before 0.15.1 judges by the flow's timeout and takes tasks of steps that may run for longer from
-- their worker (core ST-1). So such a task counts as started again with each beat that finds it at its flow's timeout; with
-- the worker's last beat that ends, and the recovery does what it is for.
create or replace function pgflow_mp.heartbeat(worker_ids uuid[])
returns table (worker_id uuid, deprecated boolean)
language sql
set search_path = ''
as $$
  with present as (
    select w.worker_id
    from pgflow.workers as w
    where w.worker_id = any (worker_ids)
    order by w.worker_id
    for no key update
  ),
  beaten as (
    update pgflow.workers as w
    set last_heartbeat_at = clock_timestamp()
    from present as p
    where w.worker_id = p.worker_id
    returning w.worker_id, w.deprecated_at is not null as deprecated
  ),
  long_task as (
    select t.ctid as tid
    from pgflow.step_tasks as t
    join pgflow.steps as s on s.flow_slug = t.flow_slug and s.step_slug = t.step_slug
    join pgflow.flows as f on f.flow_slug = t.flow_slug
    where to_regproc('"pgflow".requeue_stalled_tasks') is not null
      and t.last_worker_id = any (worker_ids)
      and t.status = 'started'
      and t.started_at < now() - make_interval(secs => f.opt_timeout)
      and s.opt_timeout > f.opt_timeout
    for update of t skip locked
  ),
  kept as (
    update pgflow.step_tasks as t
    set started_at = now()
    from long_task
    where t.ctid = long_task.tid
  )
  select asked.worker_id, b.deprecated
  from unnest(worker_ids) as asked (worker_id)
  left join beaten as b on b.worker_id = asked.worker_id;
$$;
