-- Evaluates the conditions of a run's ready steps; false means that the run is failed and nothing may go on (core
-- 3.9).
create or replace function pgflow.cascade_resolve_conditions(run_id uuid)
returns boolean
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
begin
  perform from pgflow.runs as r where r.run_id = cascade_resolve_conditions.run_id for update;
  perform pgflow_mp._resolve_conditions(
    pgflow_mp._live_runs(array[cascade_resolve_conditions.run_id]), strict => true);
  return not exists (
    select from pgflow.runs as r
    where r.run_id = cascade_resolve_conditions.run_id
      and r.status = 'failed'
  );
end;
$$;
