-- Adds a step behind the existing ones of its flow and ties it to its parents; returns the step's row. An existing
-- step keeps its attributes; parents it lacks are still tied.
-- Rules: core 3.5; A-7 (a parent named twice counts once); generations QI-5 (queue), SM-2 (not with step queues),
-- SM-3 (the queue of an existing step stays), SU-8 (lock), SU-9.
create or replace function pgflow.add_step(
  flow_slug text,
  step_slug text,
  deps_slugs text[] default '{}',
  max_attempts int default null,
  base_delay int default null,
  timeout int default null,
  start_delay int default null,
  step_type text default 'single',
  required_input_pattern jsonb default null,
  forbidden_input_pattern jsonb default null,
  when_unmet text default 'skip',
  when_exhausted text default 'fail'
)
returns pgflow.steps
language plpgsql
set search_path = ''
as $$
declare
  parents constant text[] := array(select distinct p from unnest(add_step.deps_slugs) as p);
  step pgflow.steps;
begin
  perform pgflow_mp._assert_map_step_has_one_dependency(add_step.step_slug, add_step.step_type, add_step.deps_slugs);
  perform pgflow_mp._lock_definition(add_step.flow_slug);
  if exists (
    select from pgflow.flows as f where f.flow_slug = add_step.flow_slug and f.queue_mode = 'step'
  ) then
    raise exception 'Flow "%" uses per-step queues: steps cannot be added incrementally.', add_step.flow_slug;
  end if;

  insert into pgflow.steps (
    flow_slug, step_slug, step_type, step_index, deps_count,
    opt_max_attempts, opt_base_delay, opt_timeout, opt_start_delay,
    required_input_pattern, forbidden_input_pattern, when_unmet, when_exhausted, queue_name
  )
  select
    add_step.flow_slug,
    add_step.step_slug,
    coalesce(add_step.step_type, 'single'),
    (select coalesce(max(s.step_index) + 1, 0) from pgflow.steps as s where s.flow_slug = add_step.flow_slug),
    cardinality(parents),
    add_step.max_attempts,
    add_step.base_delay,
    add_step.timeout,
    add_step.start_delay,
    add_step.required_input_pattern,
    add_step.forbidden_input_pattern,
    add_step.when_unmet,
    add_step.when_exhausted,
    lower(add_step.flow_slug)
  -- Asked, because the checks hold for what is proposed too: a step of before the strict rule of slugs stays (SU-9).
  where not exists (
    select from pgflow.steps as s
    where s.flow_slug = add_step.flow_slug
      and s.step_slug = add_step.step_slug
  )
  on conflict on constraint steps_pkey do nothing;

  insert into pgflow.deps (flow_slug, dep_slug, step_slug)
  select add_step.flow_slug, p, add_step.step_slug
  from unnest(parents) as p
  on conflict on constraint deps_pkey do nothing;

  select s.*
  into step
  from pgflow.steps as s
  where s.flow_slug = add_step.flow_slug
    and s.step_slug = add_step.step_slug;
  return step;
end;
$$;
