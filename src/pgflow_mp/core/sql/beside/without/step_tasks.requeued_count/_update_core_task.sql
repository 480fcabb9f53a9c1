-- Keeps in a table of ours how often a task was taken from workers that were lost, which a core before 0.13.2 has no columns
-- for; everything else goes to the core's row. A row that has another status or attempt by now than the statement saw is
-- left alone: without this trigger the statement would look again by itself.
create or replace function pgflow_mp._update_core_task()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  update "pgflow".step_tasks as t
  set status = new.status,
      attempts_count = new.attempts_count,
      message_id = new.message_id,
      output = new.output,
      error_message = new.error_message,
      started_at = new.started_at,
      completed_at = new.completed_at,
      failed_at = new.failed_at,
      last_worker_id = new.last_worker_id
  where t.run_id = old.run_id
    and t.step_slug = old.step_slug
    and t.task_index = old.task_index
    and t.status = old.status
    and t.attempts_count = old.attempts_count;
  if not found then
    return null;
  end if;

  if new.requeued_count is distinct from old.requeued_count then
    insert into pgflow_mp.task_requeues (run_id, step_slug, task_index, requeued_count, last_requeued_at)
    values (old.run_id, old.step_slug, old.task_index, new.requeued_count, new.last_requeued_at)
    on conflict on constraint task_requeues_pkey do update
    set requeued_count = excluded.requeued_count,
        last_requeued_at = excluded.last_requeued_at;
  end if;
  return new;
end;
$$;

create or replace trigger update_core_task
instead of update on pgflow.step_tasks
for each row execute function pgflow_mp._update_core_task();
