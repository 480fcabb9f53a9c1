-- The runs that are under way, of one flow (NULL: of all), newest first and at most so many, each with how far it is; on
-- each row stands how many there are in all. Looks through the runs' table once, since no index knows a status.
-- Runs with the owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.active_runs(flow_slug text default null, most int default 100)
returns table (
  run_id uuid, flow_slug text, started_at timestamptz, seconds double precision, steps bigint, steps_ended bigint,
  tasks bigint, done bigint, running bigint, retrying bigint, in_all bigint
)
language sql
stable
security definer
set search_path = ''
as $$
  with active as (
    select r.run_id, r.flow_slug, r.started_at, count(*) over () as in_all
    from pgflow.runs as r
    where r.status = 'started'
      and (active_runs.flow_slug is null or r.flow_slug = active_runs.flow_slug)
    order by r.started_at desc, r.run_id desc
    limit active_runs.most
  )
  select
    a.run_id, a.flow_slug, a.started_at, extract(epoch from clock_timestamp() - a.started_at)::double precision,
    step.all_of_them, step.ended, task.all_of_them, task.done, task.running, task.retrying, a.in_all
  from active as a
  cross join lateral (
    select
      count(*) as all_of_them,
      count(*) filter (where s.status in ('completed', 'failed', 'skipped')) as ended
    from pgflow.step_states as s
    where s.run_id = a.run_id
  ) as step
  cross join lateral (
    select
      count(*) as all_of_them,
      count(*) filter (where t.status = 'completed') as done,
      count(*) filter (where t.status = 'started') as running,
      count(*) filter (
        where t.status = 'queued' and t.attempts_count > 0 and t.error_message is not null
      ) as retrying
    from pgflow.step_tasks as t
    where t.run_id = a.run_id
  ) as task
  order by a.started_at desc, a.run_id desc;
$$;
