-- Starts a run and returns it as get_run_with_states does, its root steps already started.
-- Runs with the owner's rights, so that a caller needs none on the tables. Rules: core 3.7.2, 3.7.3.
create or replace function pgflow.start_flow_with_states(flow_slug text, input jsonb, run_id uuid default null)
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
  started uuid;
begin
  select r.run_id
  into started
  from pgflow.start_flow(
    start_flow_with_states.flow_slug, start_flow_with_states.input, start_flow_with_states.run_id
  ) as r;
  return pgflow.get_run_with_states(started);
end;
$$;
