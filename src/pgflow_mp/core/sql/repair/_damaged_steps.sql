-- Steps of live runs that nothing will move any more, or whose counters do not say what their rows do.
create or replace function pgflow_mp._damaged_steps(only_runs uuid[])
returns table (damage text, flow_slug text, run_id uuid, step_slug text)
language plpgsql
stable
set search_path = ''
as $$
#variable_conflict use_column
begin
  return query
    select found.damage, found.flow_slug, found.run_id, found.step_slug
    from (
      select s.flow_slug, s.run_id, s.step_slug,
        case
          when s.status = 'failed' then 'failed step of a live run'
          when s.status = 'started' and tasks.completed = s.initial_tasks then 'step without open tasks'
          when s.status = 'started' and s.remaining_tasks is distinct from s.initial_tasks - tasks.completed
            then 'wrong counter'
          when s.status = 'created' and s.remaining_deps <> parents.open then 'wrong counter'
          when s.status = 'created' and parents.open = 0 and s.initial_tasks is null then 'map without a size'
          when s.status = 'created' and parents.open = 0 then 'ready step that was not started'
        end as damage
      from pgflow.runs as r
      join pgflow.step_states as s on s.run_id = r.run_id and s.status in ('created', 'started', 'failed')
      cross join lateral (
        select count(*) as completed
        from pgflow.step_tasks as t
        where t.run_id = s.run_id
          and t.step_slug = s.step_slug
          and t.status = 'completed'
      ) as tasks
      cross join lateral (
        select count(*) as open
        from pgflow.deps as d
        join pgflow.step_states as parent on parent.run_id = s.run_id and parent.step_slug = d.dep_slug
        where d.flow_slug = s.flow_slug
          and d.step_slug = s.step_slug
          and parent.status not in ('completed', 'skipped')
      ) as parents
      where r.status = 'started'
        and (_damaged_steps.only_runs is null or r.run_id = any(_damaged_steps.only_runs))
    ) as found
    where found.damage is not null;
end;
$$;
