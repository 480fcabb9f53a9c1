-- Completes a run that has no step left (core 3.12).
create or replace function pgflow.maybe_complete_run(run_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
begin
  perform from pgflow.runs as r where r.run_id = maybe_complete_run.run_id for update;
  perform pgflow_mp._complete_runs(array[maybe_complete_run.run_id]);
end;
$$;
