-- Adds a step to a flow with the function of the core. A parent named twice counts once (core A-7). Rule: core 3.5.
create or replace function pgflow.add_step(
  flow_slug text, step_slug text, deps_slugs text[], max_attempts int, base_delay int, timeout int, start_delay int,
  step_type text, required_input_pattern jsonb, forbidden_input_pattern jsonb, when_unmet text, when_exhausted text
)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform "pgflow".add_step(
    add_step.flow_slug, add_step.step_slug, array(select distinct p from unnest(add_step.deps_slugs) as p),
    add_step.max_attempts, add_step.base_delay, add_step.timeout, add_step.start_delay, add_step.step_type,
    add_step.required_input_pattern, add_step.forbidden_input_pattern, add_step.when_unmet, add_step.when_exhausted
  );
end;
$$;
