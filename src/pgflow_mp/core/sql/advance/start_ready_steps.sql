-- Starts the ready steps of a run; nothing when it is completed or failed, or nothing is ready (core 3.8).
create or replace function pgflow.start_ready_steps(run_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
begin
  perform from pgflow.runs as r where r.run_id = start_ready_steps.run_id for update;
  perform pgflow_mp._start_ready_steps(array[start_ready_steps.run_id]);
end;
$$;
