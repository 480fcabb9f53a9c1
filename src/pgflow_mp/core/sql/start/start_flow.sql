-- Starts one run (core 3.6); returns its row as it is at the end, which may be completed or failed already.
create or replace function pgflow.start_flow(flow_slug text, input jsonb, run_id uuid default null)
returns setof pgflow.runs
language plpgsql
set search_path = ''
as $$
begin
  return query select * from pgflow_mp._start_runs(flow_slug, array[input], array[run_id], strict => true);
end;
$$;
