-- Live runs whose counter of steps is wrong, or that have no step left and were not completed.
create or replace function pgflow_mp._damaged_runs(only_runs uuid[])
returns table (damage text, flow_slug text, run_id uuid)
language plpgsql
stable
set search_path = ''
as $$
#variable_conflict use_column
begin
  return query
    select
      case when r.remaining_steps <> steps.open then 'wrong counter' else 'run without open steps' end,
      r.flow_slug, r.run_id
    from pgflow.runs as r
    cross join lateral (
      select count(*) as open
      from pgflow.step_states as s
      where s.run_id = r.run_id
        and s.status not in ('completed', 'skipped')
    ) as steps
    where r.status = 'started'
      and (_damaged_runs.only_runs is null or r.run_id = any(_damaged_runs.only_runs))
      and (r.remaining_steps <> steps.open or steps.open = 0);
end;
$$;
