-- Creates a flow and its queue, lower(slug); returns the flow's row. An existing flow keeps its options, whatever is
-- passed; only its queue is made again when it is missing.
-- Rules: core 3.4 (NULL means 3 attempts, base delay 5, timeout 60), Q-2, A-7; generations QI-3 (who owns a queue),
-- SM-1 (a flow with step queues has no queue of its own).
create or replace function pgflow.create_flow(
  flow_slug text,
  max_attempts int default null,
  base_delay int default null,
  timeout int default null
)
returns pgflow.flows
language plpgsql
set search_path = ''
as $$
declare
  flow_queue constant text := lower(create_flow.flow_slug);
  flow pgflow.flows;
begin
  perform pgflow_mp._lock_definition(create_flow.flow_slug);
  select f.* into flow from pgflow.flows as f where f.flow_slug = create_flow.flow_slug;
  if not found then
    perform pgflow_mp._assert_flow_queue_available(create_flow.flow_slug);
    insert into pgflow.flows (flow_slug, opt_max_attempts, opt_base_delay, opt_timeout)
    values (
      create_flow.flow_slug,
      coalesce(create_flow.max_attempts, 3),
      coalesce(create_flow.base_delay, 5),
      coalesce(create_flow.timeout, 60)
    )
    returning * into flow;
  end if;
  if flow.queue_mode = 'flow' and not pgflow_mp._queue_is_listed(flow_queue) then
    perform pgmq.create(flow_queue);
  end if;
  return flow;
end;
$$;
