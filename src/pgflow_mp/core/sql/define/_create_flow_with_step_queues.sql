-- Makes a flow with a queue for every step from its shape, and none for the flow. All queues are looked at before the
-- first is made. For a flow that is not there yet; an existing flow row keeps its mode. Rule: generations PV-6.
create or replace function pgflow_mp._create_flow_with_step_queues(flow_slug text, shape jsonb, routes jsonb)
returns void
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  queues constant text[] := array(
    select r.route ->> 'queueName'
    from jsonb_array_elements(routes) with ordinality as r (route, place)
    order by r.place
  );
  missing text[];
begin
  perform pgflow_mp._assert_map_step_has_one_dependency(s.step_slug, s.step_type, s.deps_slugs)
  from pgflow_mp._shape_steps(shape) as s;
  missing := array(
    select q
    from unnest(queues) as q
    where pgflow._assert_step_queue_available(_create_flow_with_step_queues.flow_slug, q)
  );
  perform pgmq.create(q) from unnest(missing) as q;

  insert into pgflow.flows (flow_slug, opt_max_attempts, opt_base_delay, opt_timeout, queue_mode)
  select _create_flow_with_step_queues.flow_slug, o.max_attempts, o.base_delay, o.timeout, 'step'
  from pgflow_mp._shape_flow_options(shape) as o
  on conflict (flow_slug) do nothing;

  insert into pgflow.steps (
    flow_slug, step_slug, step_type, step_index, deps_count,
    opt_max_attempts, opt_base_delay, opt_timeout, opt_start_delay,
    required_input_pattern, forbidden_input_pattern, when_unmet, when_exhausted, queue_name
  )
  select
    _create_flow_with_step_queues.flow_slug, s.step_slug, s.step_type, s.step_index,
    (select count(distinct p) from unnest(s.deps_slugs) as p),
    s.max_attempts, s.base_delay, s.timeout, s.start_delay,
    s.required_input_pattern, s.forbidden_input_pattern, s.when_unmet, s.when_exhausted,
    queues[s.step_index + 1]
  from pgflow_mp._shape_steps(shape) as s;

  insert into pgflow.deps (flow_slug, dep_slug, step_slug)
  select distinct _create_flow_with_step_queues.flow_slug, p, s.step_slug
  from pgflow_mp._shape_steps(shape) as s
  cross join unnest(s.deps_slugs) as p;
end;
$$;
