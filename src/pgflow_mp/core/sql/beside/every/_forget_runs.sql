-- Deletes what we know of runs that are being deleted: what foreign keys do where schema pgflow is ours.
create or replace function pgflow_mp._forget_runs(run_ids uuid[])
returns void
language sql
set search_path = ''
as $$
  delete from pgflow_mp.run_keys as ours where ours.run_id = any (run_ids);
  delete from pgflow_mp.runs as ours where ours.run_id = any (run_ids);
  delete from pgflow_mp.carriers as ours where ours.run_id = any (run_ids);
  delete from pgflow_mp.task_progress as ours where ours.run_id = any (run_ids);
  delete from pgflow_mp.task_requeues as ours where ours.run_id = any (run_ids);
$$;
