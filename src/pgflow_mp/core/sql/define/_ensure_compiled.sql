-- Makes a flow that is missing, verifies one that is there: the one body behind the three forms of
-- pgflow.ensure_flow_compiled. may_recompile: a difference deletes the flow with its data and makes it anew.
-- Rules: core 6.4; generations 5.6.
create or replace function pgflow_mp._ensure_compiled(
  flow_slug text,
  shape jsonb,
  queue_mode text,
  route_map jsonb,
  may_recompile boolean
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  wanted_mode constant text := coalesce(_ensure_compiled.queue_mode, 'flow');
  wanted_routes jsonb;
  stored_routes jsonb;
  stored_mode text;
  differences text[];
  mismatch_kind text := 'routing';
begin
  perform pgflow_mp._lock_definition(_ensure_compiled.flow_slug);
  wanted_routes := pgflow._derive_queue_routes(_ensure_compiled.flow_slug, shape, wanted_mode);
  if route_map is not null then
    perform pgflow_mp._assert_route_map(_ensure_compiled.flow_slug, route_map, wanted_routes);
  end if;

  select f.queue_mode into stored_mode from pgflow.flows as f where f.flow_slug = _ensure_compiled.flow_slug;
  if not found then
    perform pgflow._create_flow_from_shape(_ensure_compiled.flow_slug, shape, wanted_mode);
    return pgflow_mp._compile_answer('compiled');
  end if;

  differences := pgflow._compare_flow_shapes(shape, pgflow._get_flow_shape(_ensure_compiled.flow_slug));
  if cardinality(differences) > 0 then
    mismatch_kind := 'shape';
  end if;
  if stored_mode <> wanted_mode then
    differences := differences
      || format('Queue mode differs: database has ''%s'', worker expects ''%s''', stored_mode, wanted_mode);
  end if;
  stored_routes := pgflow_mp._flow_routes(_ensure_compiled.flow_slug);
  if stored_routes <> wanted_routes then
    differences := differences || format(
      'Step routes differ: database has %s, worker expects %s',
      pgflow_mp._routes_as_text(stored_routes), pgflow_mp._routes_as_text(wanted_routes)
    );
  end if;

  if cardinality(differences) = 0 then
    if wanted_mode = 'step' then
      perform pgflow._assert_step_queue_available(_ensure_compiled.flow_slug, r ->> 'queueName')
      from jsonb_array_elements(wanted_routes) as r;
    end if;
    return pgflow_mp._compile_answer('verified');
  end if;
  if may_recompile then
    perform pgflow_mp._make_anew(_ensure_compiled.flow_slug, shape, wanted_mode);
    return pgflow_mp._compile_answer('recompiled', differences);
  end if;
  return pgflow_mp._compile_answer('mismatch', differences, mismatch_kind);
end;
$$;
