-- Gives a flow and its steps the options of the definition, the shape staying as it is. Rule: D-17.
create or replace function pgflow_mp._set_options(flow_slug text, shape jsonb)
returns void
language sql
set search_path = ''
as $$
  update pgflow.flows as f
  set opt_max_attempts = w.max_attempts,
      opt_base_delay = w.base_delay,
      opt_timeout = w.timeout
  from pgflow_mp._shape_flow_options(shape) as w
  where f.flow_slug = _set_options.flow_slug;

  update pgflow.steps as s
  set opt_max_attempts = w.max_attempts,
      opt_base_delay = w.base_delay,
      opt_timeout = w.timeout,
      opt_start_delay = w.start_delay
  from pgflow_mp._shape_steps(shape) as w
  where s.flow_slug = _set_options.flow_slug
    and s.step_slug = w.step_slug;
$$;
