-- Archives the message of one task if it has one; silent otherwise (core 3.16).
create or replace function pgflow._archive_task_message(p_run_id uuid, p_step_slug text, p_task_index int)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform pgflow_mp._archive_messages(array[t.queue_name], array[t.message_id])
  from pgflow.step_tasks as t
  where t.run_id = p_run_id
    and t.step_slug = p_step_slug
    and t.task_index = p_task_index;
end;
$$;
