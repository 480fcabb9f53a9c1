-- Frees the tasks that nobody works on any more (_recover_tasks, D-3); returns how many can run again.
create or replace function pgflow_mp.recover_tasks(silent interval default '15 seconds')
returns int
language sql
security definer
set search_path = ''
as $$
  select count(*)::int from pgflow_mp._recover_tasks(silent) where task_status = 'queued';
$$;
