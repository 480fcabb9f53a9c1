-- Deletes a flow with its runs and its queues, running or not; returns whether there was one (core 6.5).
create or replace function pgflow_mp.delete_flow(flow_slug text)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
  if not pgflow_mp.has_flow(delete_flow.flow_slug) then
    return false;
  end if;
  perform pgflow.delete_flow_and_data(delete_flow.flow_slug);
  return true;
end;
$$;
