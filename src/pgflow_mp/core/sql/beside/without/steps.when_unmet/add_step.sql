-- Adds a step to a flow with the function of the core. A parent named twice counts once (core A-7). Rule: core 3.5.
-- Refuses what a core before 0.14 cannot do: there no step is skipped, neither for its input nor for its failure.
create or replace function pgflow.add_step(
  flow_slug text, step_slug text, deps_slugs text[], max_attempts int, base_delay int, timeout int, start_delay int,
  step_type text, required_input_pattern jsonb, forbidden_input_pattern jsonb, when_unmet text, when_exhausted text
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  wish constant text := case
    when add_step.required_input_pattern is not null then 'a condition on its input (when)'
    when add_step.forbidden_input_pattern is not null then 'a condition on its input (unless)'
    when add_step.when_exhausted <> 'fail' then format('when_exhausted=''%s''', add_step.when_exhausted)
  end;
begin
  if wish is not null then
    raise exception 'step "%" of flow "%" has %, which the core of this database (before 0.14) cannot do; leave that out, '
      'or take the schema over with `pgflow-mp adopt`', add_step.step_slug, add_step.flow_slug, wish;
  end if;
  perform "pgflow".add_step(
    add_step.flow_slug, add_step.step_slug, array(select distinct p from unnest(add_step.deps_slugs) as p),
    add_step.max_attempts, add_step.base_delay, add_step.timeout, add_step.start_delay, add_step.step_type
  );
end;
$$;
