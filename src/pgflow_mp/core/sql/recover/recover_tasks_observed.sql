-- Does what recover_tasks does, and tells what became of each task (_recover_tasks), for a worker whose plugins want to
-- know.
create or replace function pgflow_mp.recover_tasks_observed(silent interval)
returns table (
  flow_slug text, run_id uuid, step_slug text, task_index int, attempt int, worker_id uuid, is_lost boolean,
  task_status text, delay double precision, error text, transitions jsonb
)
language sql
security definer
set search_path = ''
as $$
  select * from pgflow_mp._recover_tasks(silent);
$$;
