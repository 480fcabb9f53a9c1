-- Takes steps that were completed or skipped off their runs' counters; run_ids names a run once for each such step.
-- and_complete: a run that has no step left is completed by the same update (see _complete_runs).
-- Returns the given runs that are still started. The caller holds the locks of the runs.
create or replace function pgflow_mp._count_off_steps(run_ids uuid[], and_complete boolean default false)
returns uuid[]
language plpgsql
set search_path = ''
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  live uuid[];
  completed uuid[];
begin
  with counted as (
    update pgflow.runs as r
    set remaining_steps = r.remaining_steps - finished.steps,
        status = case when finished.last then 'completed' else r.status end,
        completed_at = case when finished.last then greatest(now(), r.started_at) else r.completed_at end,
        output = case when finished.last then pgflow_mp._leaf_outputs(r.run_id, r.flow_slug) else r.output end
    from (
      select step.run_id, step.steps,
        _count_off_steps.and_complete and run.status = 'started' and run.remaining_steps = step.steps as last
      from (
        select given.run_id, count(*) as steps
        from unnest(_count_off_steps.run_ids) as given (run_id)
        group by given.run_id
      ) as step
      join pgflow.runs as run on run.run_id = step.run_id
    ) as finished
    where r.run_id = finished.run_id
    returning r.run_id, r.status, finished.last
  )
  select
    array_agg(run_id order by run_id) filter (where status = 'started'),
    array_agg(run_id order by run_id) filter (where last)
  into live, completed
  from counted;

  perform pgflow_mp._announce_completed_runs(completed);
  return coalesce(live, '{}');
end;
$$;
