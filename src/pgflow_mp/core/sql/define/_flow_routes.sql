-- The routes that are stored for a flow, in the form of _derive_queue_routes. Rule: generations 5.6.4.
create or replace function pgflow_mp._flow_routes(flow_slug text)
returns jsonb
language sql
stable
set search_path = ''
as $$
  select coalesce(
    jsonb_agg(jsonb_build_object('stepSlug', s.step_slug, 'queueName', s.queue_name) order by s.step_index),
    '[]'
  )
  from pgflow.steps as s
  where s.flow_slug = _flow_routes.flow_slug;
$$;
