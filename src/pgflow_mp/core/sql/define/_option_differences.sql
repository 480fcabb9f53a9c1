-- Which options of a stored flow differ from its definition, one sentence each. What a definition does not set is the
-- default of a flow and inherited by a step. Rule: D-17.
create or replace function pgflow_mp._option_differences(flow_slug text, shape jsonb)
returns text[]
language sql
stable
set search_path = ''
as $$
  with compared (step_index, option_index, finding, stored, wanted) as (
    select -1, o.option_index, format('%s of the flow', o.name), o.stored, o.wanted
    from pgflow.flows as f
    cross join pgflow_mp._shape_flow_options(shape) as w
    cross join lateral (
      values
        (1, 'max_attempts', f.opt_max_attempts, w.max_attempts),
        (2, 'base_delay', f.opt_base_delay, w.base_delay),
        (3, 'timeout', f.opt_timeout, w.timeout)
    ) as o (option_index, name, stored, wanted)
    where f.flow_slug = _option_differences.flow_slug
    union all
    select s.step_index, o.option_index, format('%s of step %s', o.name, s.step_slug), o.stored, o.wanted
    from pgflow.steps as s
    join pgflow_mp._shape_steps(shape) as w on w.step_slug = s.step_slug
    cross join lateral (
      values
        (1, 'max_attempts', s.opt_max_attempts, w.max_attempts),
        (2, 'base_delay', s.opt_base_delay, w.base_delay),
        (3, 'timeout', s.opt_timeout, w.timeout),
        (4, 'start_delay', s.opt_start_delay, w.start_delay)
    ) as o (option_index, name, stored, wanted)
    where s.flow_slug = _option_differences.flow_slug
  )
  select array(
    select format('%s: %s -> %s', finding, coalesce(stored::text, 'default'), coalesce(wanted::text, 'default'))
    from compared
    where stored is distinct from wanted
    order by step_index, option_index
  );
$$;
