-- Sets the counters of runs and of their open steps to what their rows say. The caller holds the locks of the runs.
create or replace function pgflow_mp._count_again(run_ids uuid[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  update pgflow.runs as r
  set remaining_steps = (
    select count(*)
    from pgflow.step_states as s
    where s.run_id = r.run_id
      and s.status not in ('completed', 'skipped')
  )
  where r.run_id = any(_count_again.run_ids)
    and r.status = 'started';

  update pgflow.step_states as s
  set remaining_deps = (
    select count(*)
    from pgflow.deps as d
    join pgflow.step_states as parent on parent.run_id = s.run_id and parent.step_slug = d.dep_slug
    where d.flow_slug = s.flow_slug
      and d.step_slug = s.step_slug
      and parent.status not in ('completed', 'skipped')
  )
  where s.run_id = any(_count_again.run_ids)
    and s.status = 'created';

  update pgflow.step_states as s
  set remaining_tasks = s.initial_tasks - (
    select count(*)
    from pgflow.step_tasks as t
    where t.run_id = s.run_id
      and t.step_slug = s.step_slug
      and t.status = 'completed'
  )
  where s.run_id = any(_count_again.run_ids)
    and s.status = 'started';
end;
$$;
