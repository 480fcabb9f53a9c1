-- Makes a flow whose steps share the flow's queue from its shape. Rule: core 6.3.
create or replace function pgflow_mp._create_flow_with_one_queue(flow_slug text, shape jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
  step record;
begin
  perform pgflow.create_flow(_create_flow_with_one_queue.flow_slug, o.max_attempts, o.base_delay, o.timeout)
  from pgflow_mp._shape_flow_options(shape) as o;
  -- A loop, because the order of the calls is the order of the steps.
  for step in select * from pgflow_mp._shape_steps(shape) loop
    perform pgflow.add_step(
      _create_flow_with_one_queue.flow_slug, step.step_slug, step.deps_slugs,
      step.max_attempts, step.base_delay, step.timeout, step.start_delay, step.step_type,
      step.required_input_pattern, step.forbidden_input_pattern, step.when_unmet, step.when_exhausted
    );
  end loop;
end;
$$;
