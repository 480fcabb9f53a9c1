-- The steps of a shape as columns, absent values as their defaults. Rule: core 6.3.1.
create or replace function pgflow_mp._shape_steps(shape jsonb)
returns table (
  step_index int,
  step_slug text,
  step_type text,
  deps_slugs text[],
  max_attempts int,
  base_delay int,
  timeout int,
  start_delay int,
  required_input_pattern jsonb,
  forbidden_input_pattern jsonb,
  when_unmet text,
  when_exhausted text
)
language sql
immutable
set search_path = ''
as $$
  select
    (s.place - 1)::int,
    s.step ->> 'slug',
    coalesce(s.step ->> 'stepType', 'single'),
    array(select jsonb_array_elements_text(coalesce(s.step -> 'dependencies', '[]'))),
    (s.step -> 'options' ->> 'maxAttempts')::int,
    (s.step -> 'options' ->> 'baseDelay')::int,
    (s.step -> 'options' ->> 'timeout')::int,
    (s.step -> 'options' ->> 'startDelay')::int,
    pgflow_mp._pattern_from_shape(s.step -> 'requiredInputPattern'),
    pgflow_mp._pattern_from_shape(s.step -> 'forbiddenInputPattern'),
    coalesce(s.step ->> 'whenUnmet', 'skip'),
    coalesce(s.step ->> 'whenExhausted', 'fail')
  from jsonb_array_elements(coalesce(shape -> 'steps', '[]')) with ordinality as s (step, place)
  order by s.place;
$$;
