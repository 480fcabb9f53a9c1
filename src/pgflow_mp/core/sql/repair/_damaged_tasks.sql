-- Tasks whose row contradicts its step or its run; only_runs NULL: of all runs. A full look reads all tasks.
create or replace function pgflow_mp._damaged_tasks(only_runs uuid[])
returns table (damage text, flow_slug text, run_id uuid, step_slug text, task_index int)
language plpgsql
stable
set search_path = ''
as $$
#variable_conflict use_column
begin
  return query
    select found.damage, found.flow_slug, found.run_id, found.step_slug, found.task_index
    from (
      select t.flow_slug, t.run_id, t.step_slug, t.task_index,
        case
          when t.status in ('queued', 'started') and s.status in ('completed', 'failed', 'skipped')
            then 'open task of an ended step'
          when t.status in ('queued', 'started') and r.status <> 'started' then 'open task of an ended run'
          when r.status <> 'started' or s.status <> 'started' then null
          when t.status = 'started' and t.permanently_stalled_at is not null then 'task given up'
          when t.status = 'failed' then 'failed task of a live step'
        end as damage
      from pgflow.step_tasks as t
      join pgflow.step_states as s on s.run_id = t.run_id and s.step_slug = t.step_slug
      join pgflow.runs as r on r.run_id = t.run_id
      where t.status in ('queued', 'started', 'failed')
        and (_damaged_tasks.only_runs is null or t.run_id = any(_damaged_tasks.only_runs))
    ) as found
    where found.damage is not null;

  return query
    select 'task of a step not started', t.flow_slug, t.run_id, t.step_slug, t.task_index
    from pgflow.runs as r
    join pgflow.step_states as s on s.run_id = r.run_id and s.status = 'created'
    join pgflow.step_tasks as t on t.run_id = s.run_id and t.step_slug = s.step_slug
    where r.status = 'started'
      and (_damaged_tasks.only_runs is null or r.run_id = any(_damaged_tasks.only_runs));

  return query
    select 'missing task', s.flow_slug, s.run_id, s.step_slug, place.task_index
    from pgflow.runs as r
    join pgflow.step_states as s on s.run_id = r.run_id and s.status = 'started'
    cross join lateral generate_series(0, s.initial_tasks - 1) as place (task_index)
    where r.status = 'started'
      and (_damaged_tasks.only_runs is null or r.run_id = any(_damaged_tasks.only_runs))
      and not exists (
        select
        from pgflow.step_tasks as t
        where t.run_id = s.run_id
          and t.step_slug = s.step_slug
          and t.task_index = place.task_index
      );
end;
$$;
