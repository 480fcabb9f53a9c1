-- Completes a running task with its output, and everything that follows from it; returns the task row as it is
-- then, none for an unknown task. Late and repeated calls change nothing.
-- Rules: core 3.14 with generations 2.2: CT-1' here, without a lock; the rest in _settle_tasks.
create or replace function pgflow.complete_task(run_id uuid, step_slug text, task_index int, output jsonb)
returns setof pgflow.step_tasks
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  result record;
begin
  if not exists (
    select from pgflow.runs as r where r.run_id = complete_task.run_id and r.status = 'failed'
  ) then
    select s.* into result
    from pgflow_mp._settle_tasks(
      array[complete_task.run_id], array[complete_task.step_slug], array[complete_task.task_index],
      null, null, array[complete_task.output], null, null, strict => true) as s;
    -- CT-9; otherwise it has been done, or must not be.
    if result.run_status = 'started' and result.step_status = 'started' then
      perform pgflow_mp._start_ready_steps(array[complete_task.run_id]);
      perform pgflow_mp._complete_runs(array[complete_task.run_id]);
    end if;
  end if;

  return query
    select t.*
    from pgflow.step_tasks as t
    where t.run_id = complete_task.run_id
      and t.step_slug = complete_task.step_slug
      and t.task_index = complete_task.task_index;
end;
$$;
