-- Takes changes of a step's state over into a core before 0.13, which has no column for its output: the view reads that from
-- the tasks. The callers hold the lock of the run.
create or replace function pgflow_mp._update_core_state()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  update "pgflow".step_states as s
  set status = new.status,
      remaining_tasks = new.remaining_tasks,
      remaining_deps = new.remaining_deps,
      initial_tasks = new.initial_tasks,
      error_message = new.error_message,
      started_at = new.started_at,
      completed_at = new.completed_at,
      failed_at = new.failed_at
  where s.run_id = old.run_id
    and s.step_slug = old.step_slug;
  return new;
end;
$$;

create or replace trigger update_core_state
instead of update on pgflow.step_states
for each row execute function pgflow_mp._update_core_state();
