-- Completes those of the given runs that are started and have no step left (core 3.12).
-- The caller holds the locks of the runs.
create or replace function pgflow_mp._complete_runs(run_ids uuid[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform pgflow_mp._count_off_steps(run_ids, steps => 0, and_complete => true);
end;
$$;
