-- Makes a flow from its shape. Absent values take their defaults; an existing flow keeps what it has.
-- Rules: core 6.3; generations PV-6 (step queues).
create or replace function pgflow._create_flow_from_shape(
  p_flow_slug text,
  p_shape jsonb,
  p_queue_mode text default 'flow'
)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform pgflow_mp._lock_definition(p_flow_slug);
  if p_queue_mode = 'flow' then
    perform pgflow_mp._create_flow_with_one_queue(p_flow_slug, p_shape);
  else
    perform pgflow_mp._create_flow_with_step_queues(
      p_flow_slug, p_shape, pgflow._derive_queue_routes(p_flow_slug, p_shape, p_queue_mode)
    );
  end if;
end;
$$;
