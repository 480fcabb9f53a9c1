-- Queues of single steps (generations 5).
alter table pgflow.flows
  add column queue_mode text not null default 'flow',
  add constraint queue_mode_is_valid check (queue_mode in ('flow', 'step'));
create unique index idx_steps_normalized_slug on pgflow.steps (flow_slug, lower(step_slug));

drop function pgflow.start_tasks(text, bigint[], uuid, text);
create function pgflow.start_tasks(
  flow_slug text, msg_ids bigint[], worker_id uuid, queue_name text, step_slug text default null
)
returns setof pgflow.step_task_record
language plpgsql
set search_path = ''
set plan_cache_mode = force_custom_plan
as $$
declare
  mode text := (select f.queue_mode from pgflow.flows as f where f.flow_slug = start_tasks.flow_slug);
begin
  if mode = 'step' and start_tasks.step_slug is null then
    raise exception 'Flow "%" uses per-step queues: an exact step_slug is required to claim tasks.',
      start_tasks.flow_slug;
  elsif mode = 'flow' and start_tasks.step_slug is not null then
    raise exception 'Flow "%" uses the default flow queue: a step selector is not allowed.', start_tasks.flow_slug;
  elsif mode = 'step' and not exists (
    select from pgflow.steps as s
    where (s.flow_slug, s.step_slug, s.queue_name)
      = (start_tasks.flow_slug, start_tasks.step_slug, start_tasks.queue_name)
  ) then
    raise exception 'Step "%" does not route to queue "%" in flow "%".',
      start_tasks.step_slug, start_tasks.queue_name, start_tasks.flow_slug;
  end if;
  return query
  select t.flow_slug, t.run_id, t.step_slug, i.input, t.message_id, t.task_index, i.flow_input
  from pgflow._start_tasks(
    start_tasks.flow_slug, start_tasks.msg_ids, start_tasks.worker_id, coalesce(start_tasks.queue_name, ''),
    start_tasks.step_slug
  ) as t
  cross join lateral pgflow._task_inputs(t) as i;
end;
$$;

drop function pgflow._create_flow_from_shape(text, jsonb);
drop function pgflow.ensure_flow_compiled(text, jsonb);
create function pgflow.ensure_flow_compiled(
  flow_slug text, shape jsonb, queue_mode text default 'flow', route_map jsonb default null
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  mode text := coalesce(ensure_flow_compiled.queue_mode, 'flow');
  routes jsonb;
  stored_mode text;
  differences text[];
  kind text := 'routing';
begin
  perform pgflow._lock_definition(ensure_flow_compiled.flow_slug);
  routes := pgflow._derive_queue_routes(ensure_flow_compiled.flow_slug, shape, mode);
  if route_map is not null then
    perform pgflow._assert_route_map(ensure_flow_compiled.flow_slug, route_map, routes);
  end if;
  select f.queue_mode into stored_mode from pgflow.flows as f where f.flow_slug = ensure_flow_compiled.flow_slug;
  if not found then
    perform pgflow._create_flow_from_shape(ensure_flow_compiled.flow_slug, shape, mode);
    return pgflow._compile_answer('compiled');
  end if;
  differences := pgflow._compare_flow_shapes(shape, pgflow._get_flow_shape(ensure_flow_compiled.flow_slug));
  if cardinality(differences) > 0 then
    kind := 'shape';
  end if;
  if stored_mode <> mode then
    differences := differences
      || format('Queue mode differs: database has ''%s'', worker expects ''%s''', stored_mode, mode);
  end if;
  if pgflow._flow_routes(ensure_flow_compiled.flow_slug) <> routes then
    differences := differences || format(
      'Step routes differ: database has %s, worker expects %s',
      pgflow._routes_as_text(pgflow._flow_routes(ensure_flow_compiled.flow_slug)), pgflow._routes_as_text(routes)
    );
  end if;
  if cardinality(differences) = 0 then
    return pgflow._compile_answer('verified');
  elsif pgflow.is_local() then
    perform pgflow.delete_flow_and_data(ensure_flow_compiled.flow_slug);
    perform pgflow._create_flow_from_shape(ensure_flow_compiled.flow_slug, shape, mode);
    return pgflow._compile_answer('recompiled', differences);
  end if;
  return pgflow._compile_answer('mismatch', differences, kind);
end;
$$;
