-- Lets tasks be inserted with the queue that they are in, for which a core before GQI has no column: it is the flow's, as
-- the view computes. Only the columns that a new task has are taken over.
create or replace function pgflow_mp._insert_core_task()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  insert into "pgflow".step_tasks (flow_slug, run_id, step_slug, task_index, message_id)
  values (new.flow_slug, new.run_id, new.step_slug, new.task_index, new.message_id);
  return new;
end;
$$;

create or replace trigger insert_core_task
instead of insert on pgflow.step_tasks
for each row execute function pgflow_mp._insert_core_task();
