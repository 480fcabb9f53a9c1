-- The shape of a stored flow: its steps in definition order, without options. An unknown flow has no steps.
-- Rules: core 6.1 (all seven keys always, dependencies sorted).
create or replace function pgflow._get_flow_shape(p_flow_slug text)
returns jsonb
language sql
stable
set search_path = ''
as $$
  with shaped as (
    select
      s.step_index,
      jsonb_build_object(
        'slug', s.step_slug,
        'stepType', s.step_type,
        'dependencies', coalesce(
          (
            select jsonb_agg(d.dep_slug order by d.dep_slug collate "C")
            from pgflow.deps as d
            where d.flow_slug = s.flow_slug and d.step_slug = s.step_slug
          ),
          '[]'
        ),
        'whenUnmet', s.when_unmet,
        'whenExhausted', s.when_exhausted,
        'requiredInputPattern', pgflow_mp._pattern_to_shape(s.required_input_pattern),
        'forbiddenInputPattern', pgflow_mp._pattern_to_shape(s.forbidden_input_pattern)
      ) as step
    from pgflow.steps as s
    where s.flow_slug = p_flow_slug
  )
  select jsonb_build_object('steps', coalesce(jsonb_agg(shaped.step order by shaped.step_index), '[]'))
  from shaped;
$$;
