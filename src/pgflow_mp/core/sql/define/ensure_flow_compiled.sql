-- Makes or verifies a flow when a worker starts: {status, differences, mismatchKind}. Three forms, told apart by
-- their arguments alone, so no third parameter has a default (generations 9.1, 9.2).

-- Workers of 0.16 and Elixir ones: the flow has one queue.
create or replace function pgflow.ensure_flow_compiled(flow_slug text, shape jsonb)
returns jsonb
language sql
set search_path = ''
as $$
  select pgflow.ensure_flow_compiled(flow_slug, shape, false);
$$;

-- Workers of 0.14 and 0.15 may allow the loss of data. They know nothing of step queues, so they never recompile a
-- flow that has them (SU-3).
create or replace function pgflow.ensure_flow_compiled(flow_slug text, shape jsonb, allow_data_loss boolean)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  has_step_queues boolean;
begin
  perform pgflow_mp._lock_definition(ensure_flow_compiled.flow_slug);
  has_step_queues := exists (
    select from pgflow.flows as f
    where f.flow_slug = ensure_flow_compiled.flow_slug and f.queue_mode = 'step'
  );
  return pgflow_mp._ensure_compiled(
    ensure_flow_compiled.flow_slug, shape, 'flow', null,
    may_recompile => (pgflow.is_local() or coalesce(allow_data_loss, false)) and not has_step_queues
  );
end;
$$;

-- Workers of 0.17: with the mode of the queues and, to be checked, the routes. A hand-written call that sends the old
-- flag untyped lands here, since text is what an untyped literal prefers (generations 9.2 row 2).
create or replace function pgflow.ensure_flow_compiled(
  flow_slug text,
  shape jsonb,
  queue_mode text,
  route_map jsonb default null
)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
  if lower(queue_mode) in ('t', 'f', 'true', 'false') then
    return pgflow.ensure_flow_compiled(ensure_flow_compiled.flow_slug, shape, ensure_flow_compiled.queue_mode::boolean);
  end if;
  return pgflow_mp._ensure_compiled(
    ensure_flow_compiled.flow_slug, shape, ensure_flow_compiled.queue_mode, route_map,
    may_recompile => pgflow.is_local()
  );
end;
$$;
