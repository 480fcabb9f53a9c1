-- The output of a step whose tasks are all completed: of a single step its task's, of a map step the array of all in
-- task_index order with SQL NULL as JSON null (core O-1).
create or replace function pgflow_mp._task_outputs(run_id uuid, flow_slug text, step_slug text)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
  if exists (
    select from pgflow.steps as s
    where s.flow_slug = _task_outputs.flow_slug
      and s.step_slug = _task_outputs.step_slug
      and s.step_type = 'single'
  ) then
    return (
      select t.output
      from pgflow.step_tasks as t
      where t.run_id = _task_outputs.run_id
        and t.step_slug = _task_outputs.step_slug
        and t.task_index = 0
    );
  end if;
  return (
    select jsonb_agg(coalesce(t.output, 'null') order by t.task_index)
    from pgflow.step_tasks as t
    where t.run_id = _task_outputs.run_id
      and t.step_slug = _task_outputs.step_slug
  );
end;
$$;
