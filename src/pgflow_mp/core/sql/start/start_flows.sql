-- Starts one run of a flow for each input, in one round trip; returns their rows in the order of the inputs.
-- run_ids[i] NULL, or no run_ids at all: we make the id. An input that the flow cannot take, an unknown flow or a
-- used id raises as start_flow does, and nothing is started. A run that exceeds a cascade's round limit fails
-- alone (D-6).
-- Runs with the owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.start_flows(flow_slug text, inputs jsonb[], run_ids uuid[] default null)
returns setof pgflow.runs
language plpgsql
security definer
set search_path = ''
as $$
begin
  perform pgflow_mp._hold_flow(flow_slug);
  return query select * from pgflow_mp._start_runs(flow_slug, inputs, run_ids, strict => false);
end;
$$;
