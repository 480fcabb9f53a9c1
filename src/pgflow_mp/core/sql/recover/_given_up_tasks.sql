-- The tasks that pgflow.requeue_stalled_tasks gave up on and that still hold up a live run (core ST-4). Their
-- messages are archived, so they are found by their mark; rows as of _started_tasks.
create or replace function pgflow_mp._given_up_tasks()
returns table (
  queue_name text, message_id bigint, run_id uuid, step_slug text, task_index int, attempts_count int,
  last_worker_id uuid, started_at timestamptz, requeued_count int, permanently_stalled_at timestamptz, timeout int
)
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  return query
    select
      t.queue_name, t.message_id, t.run_id, t.step_slug, t.task_index, t.attempts_count,
      t.last_worker_id, t.started_at, t.requeued_count, t.permanently_stalled_at,
      coalesce(st.opt_timeout, f.opt_timeout)
    from pgflow.step_tasks as t
    cross join lateral (
      select from pgflow.runs as r where r.run_id = t.run_id and r.status = 'started' offset 0
    ) as live_run
    cross join lateral (
      select
      from pgflow.step_states as s
      where s.run_id = t.run_id
        and s.step_slug = t.step_slug
        and s.status = 'started'
      offset 0
    ) as live_step
    join pgflow.steps as st on st.flow_slug = t.flow_slug and st.step_slug = t.step_slug
    join pgflow.flows as f on f.flow_slug = t.flow_slug
    where t.permanently_stalled_at is not null
      and t.status = 'started';
end;
$$;
