-- The same recovery under the name and with the result that other workers ask for (generations 7.1, 9.1):
-- p_stale_threshold seconds are granted beyond a task's timeout; vt_batches counts the queues touched.
create or replace function pgflow.recover_stalled_tasks(p_stale_threshold double precision)
returns table (recovered_count bigint, vt_batches bigint)
language plpgsql
security definer
set search_path = ''
as $$
begin
  return query
    select count(*), count(distinct queue_name)
    from pgflow_mp._requeue_stalled_tasks(margin => p_stale_threshold) as queue_name;
end;
$$;
