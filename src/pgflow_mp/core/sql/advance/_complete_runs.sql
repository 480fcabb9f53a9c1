-- Completes those of the given runs that have no step left: output from the completed leaves, event, notification.
-- Rules: core 3.12 (a skipped leaf has no key, a NULL output is JSON null, no completed leaf at all gives SQL NULL).
-- The caller holds the locks of the runs.
create or replace function pgflow_mp._complete_runs(run_ids uuid[])
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  completed uuid[];
begin
  with done as (
    update pgflow.runs as r
    set status = 'completed',
        completed_at = greatest(now(), r.started_at),
        output = pgflow_mp._leaf_outputs(r.run_id, r.flow_slug)
    where r.run_id = any(_complete_runs.run_ids)
      and r.status = 'started'
      and r.remaining_steps = 0
    returning r.run_id
  )
  select array_agg(run_id order by run_id) into completed from done;

  perform pgflow_mp._announce_completed_runs(completed);
end;
$$;
