-- Deletes tasks and archives their messages: of steps that have not started, which will make their tasks anew. Whatever
-- a worker says of such a task comes too late (core CT-3). The caller holds the locks of the runs.
create or replace function pgflow_mp._delete_tasks(run_ids uuid[], step_slugs text[], task_indexes int[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  queue_names text[];
  message_ids bigint[];
begin
  with deleted as (
    delete from pgflow.step_tasks as t
    using unnest(_delete_tasks.run_ids, _delete_tasks.step_slugs, _delete_tasks.task_indexes)
      as given (run_id, step_slug, task_index)
    where t.run_id = given.run_id
      and t.step_slug = given.step_slug
      and t.task_index = given.task_index
    returning t.queue_name, t.message_id
  )
  select array_agg(deleted.queue_name), array_agg(deleted.message_id)
  into queue_names, message_ids
  from deleted;
  perform pgflow_mp._archive_messages(queue_names, message_ids);
end;
$$;
