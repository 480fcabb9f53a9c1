-- Those of the given runs that are started.
create or replace function pgflow_mp._live_runs(run_ids uuid[])
returns uuid[]
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
declare
  live uuid[];
begin
  select coalesce(array_agg(r.run_id order by r.run_id), '{}')
  into live
  from pgflow.runs as r
  where r.run_id = any(_live_runs.run_ids)
    and r.status = 'started';
  return live;
end;
$$;
