-- Locks the queued and started tasks of the given steps of runs, or of the runs (step_slugs NULL), and returns where their
-- rows are. The caller holds the locks of the runs.
create or replace function pgflow_mp._lock_open_tasks(run_ids uuid[], step_slugs text[])
returns setof tid
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  -- Claims may be at work on some: wait for them first, so that the next statement sees the rows that they leave.
  perform
  from unnest(_lock_open_tasks.run_ids, _lock_open_tasks.step_slugs) as given (run_id, step_slug)
  cross join lateral (
    select
    from pgflow.step_tasks as open_task
    where open_task.run_id = given.run_id
      and (given.step_slug is null or open_task.step_slug = given.step_slug)
      and open_task.status in ('queued', 'started')
    for update
    offset 0
  ) as own;

  return query
    select own.tid
    from unnest(_lock_open_tasks.run_ids, _lock_open_tasks.step_slugs) as given (run_id, step_slug)
    cross join lateral (
      select open_task.ctid as tid
      from pgflow.step_tasks as open_task
      where open_task.run_id = given.run_id
        and (given.step_slug is null or open_task.step_slug = given.step_slug)
        and open_task.status in ('queued', 'started')
      offset 0
    ) as own;
end;
$$;
