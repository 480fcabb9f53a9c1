-- The running tasks that these workers hold, as far as the database knows. A worker whose claim broke off asks this, to
-- give back what it was given without learning of it.
create or replace function pgflow_mp.held_tasks(worker_ids uuid[])
returns table (run_id uuid, step_slug text, task_index int, attempt int, worker_id uuid)
language sql
security definer
set search_path = ''
as $$
  select t.run_id, t.step_slug, t.task_index, t.attempts_count, t.last_worker_id
  from pgflow_mp._started_tasks(thorough => false) as t
  where t.last_worker_id = any(held_tasks.worker_ids);
$$;
