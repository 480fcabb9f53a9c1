-- Fails a running task: another attempt after the retry delay, or the end of its step by when_exhausted; returns
-- the task row as it is then, none for an unknown task. Late and repeated calls change nothing.
-- Rules: core 3.15 with generations 2.3: FT-1' here, without a lock, and FT-11 for a task that is queued already
-- (its message is pushed back); the rest in _settle_tasks.
create or replace function pgflow.fail_task(run_id uuid, step_slug text, task_index int, error_message text)
returns setof pgflow.step_tasks
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  result record;
begin
  if exists (
    select from pgflow.runs as r where r.run_id = fail_task.run_id and r.status = 'failed'
  ) then
    perform pgflow._archive_task_message(fail_task.run_id, fail_task.step_slug, fail_task.task_index);
  else
    select s.* into result
    from pgflow_mp._settle_tasks(
      array[fail_task.run_id], array[fail_task.step_slug], array[fail_task.task_index],
      null, null, null, array[coalesce(fail_task.error_message, '')], null, strict => true) as s;
    if not result.applied and result.task_status = 'queued'
      and result.run_status = 'started' and result.step_status = 'started'
    then
      perform pgflow_mp._delay_messages(
        array[t.queue_name], array[t.message_id],
        array[pgflow_mp._retry_delay(coalesce(s.opt_base_delay, f.opt_base_delay), t.attempts_count)])
      from pgflow.step_tasks as t
      join pgflow.steps as s on s.flow_slug = t.flow_slug and s.step_slug = t.step_slug
      join pgflow.flows as f on f.flow_slug = t.flow_slug
      where t.run_id = fail_task.run_id
        and t.step_slug = fail_task.step_slug
        and t.task_index = fail_task.task_index;
    end if;
  end if;

  return query
    select t.*
    from pgflow.step_tasks as t
    where t.run_id = fail_task.run_id
      and t.step_slug = fail_task.step_slug
      and t.task_index = fail_task.task_index;
end;
$$;
