-- Creates a flow and its queue with the function of the core. One before 0.17 takes whatever queue has the name of the flow,
-- whoever owns it: that is refused here. Rules: core 3.4, Q-2; generations QI-3.
create or replace function pgflow.create_flow(flow_slug text, max_attempts int, base_delay int, timeout int)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform pgflow_mp._assert_flow_queue_available(create_flow.flow_slug);
  perform "pgflow".create_flow(
    create_flow.flow_slug, create_flow.max_attempts, create_flow.base_delay, create_flow.timeout);
end;
$$;
