-- How far a run is: one row a step in definition order, on each of them the run's own columns, so that all is of one
-- snapshot; no row for an unknown run. Counts, no inputs and outputs, and what a running task said last of its progress
-- (of a step with several, the one that spoke last). Cheap enough to be asked ten times a second:
-- the tasks are counted by the primary key; 10,000 of them take about 3 ms.
-- Runs with the owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.run_progress(run_id uuid)
returns table (
  flow_slug text, run_status text, run_seconds double precision,
  step_slug text, is_map boolean, deps text[], status text, tasks int, done bigint, running bigint, retrying bigint,
  attempts int, error text, skip_reason text, seconds double precision,
  fraction double precision, message text
)
language sql
stable
security definer
set search_path = ''
as $$
  with task as (
    select
      t.step_slug,
      count(*) filter (where t.status = 'completed') as done,
      count(*) filter (where t.status = 'started') as running,
      count(*) filter (
        where t.status = 'queued' and t.attempts_count > 0 and t.error_message is not null
      ) as retrying,
      max(t.attempts_count) as attempts,
      (array_agg(t.error_message order by t.task_index) filter (where t.error_message is not null))[1] as error
    from pgflow.step_tasks as t
    where t.run_id = run_progress.run_id
    group by t.step_slug
  ),
  dep as (
    select d.step_slug, array_agg(d.dep_slug order by parent.step_index) as slugs
    from pgflow.runs as r
    join pgflow.deps as d on d.flow_slug = r.flow_slug
    join pgflow.steps as parent on parent.flow_slug = d.flow_slug and parent.step_slug = d.dep_slug
    where r.run_id = run_progress.run_id
    group by d.step_slug
  ),
  said as (
    select distinct on (p.step_slug) p.step_slug, p.fraction, p.message
    from pgflow_mp.task_progress as p
    join pgflow.step_tasks as t
      on t.run_id = p.run_id and t.step_slug = p.step_slug and t.task_index = p.task_index
    where p.run_id = run_progress.run_id
      and t.status = 'started'
      and t.attempts_count = p.attempt
    order by p.step_slug, p.reported_at desc
  )
  select
    r.flow_slug, r.status,
    extract(epoch from coalesce(r.completed_at, r.failed_at, clock_timestamp()) - r.started_at)::double precision,
    s.step_slug, s.step_type = 'map', coalesce(dep.slugs, '{}'), st.status, st.initial_tasks,
    coalesce(task.done, 0), coalesce(task.running, 0), coalesce(task.retrying, 0), coalesce(task.attempts, 0),
    coalesce(st.error_message, task.error), st.skip_reason,
    extract(
      epoch from coalesce(st.completed_at, st.failed_at, st.skipped_at, clock_timestamp()) - st.started_at
    )::double precision,
    said.fraction, said.message
  from pgflow.runs as r
  join pgflow.step_states as st on st.run_id = r.run_id
  join pgflow.steps as s on s.flow_slug = st.flow_slug and s.step_slug = st.step_slug
  left join task on task.step_slug = s.step_slug
  left join dep on dep.step_slug = s.step_slug
  left join said on said.step_slug = s.step_slug
  where r.run_id = run_progress.run_id
  order by s.step_index;
$$;
