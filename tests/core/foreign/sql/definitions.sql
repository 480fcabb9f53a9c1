-- Flows and steps (core 3.4, 3.5, 6; generations QI-3, QI-5, QI-6, SM-1 to SM-4).

create function pgflow.create_flow(
  flow_slug text, max_attempts int default null, base_delay int default null, timeout int default null
)
returns pgflow.flows
language plpgsql
set search_path = ''
as $$
declare
  flow pgflow.flows;
  queue text := case when pgflow._has_queues() then lower(create_flow.flow_slug) else create_flow.flow_slug end;
begin
  if pgflow._has_queues() then
    perform pg_advisory_xact_lock(1, hashtext(queue));
    if exists (
        select from pgmq.list_queues() as l where lower(l.queue_name) = queue
      ) and not exists (select from pgflow.flows as f where lower(f.flow_slug) = queue)
    then
      raise exception 'cannot create flow "%": queue "%" is already in use by another owner',
        create_flow.flow_slug, queue using errcode = '23505';
    end if;
  end if;
  insert into pgflow.flows (flow_slug, opt_max_attempts, opt_base_delay, opt_timeout)
  values (create_flow.flow_slug, coalesce(max_attempts, 3), coalesce(base_delay, 5), coalesce(timeout, 60))
  on conflict on constraint flows_pkey do nothing;
  select f.* into flow from pgflow.flows as f where f.flow_slug = create_flow.flow_slug;
  if coalesce(to_jsonb(flow) ->> 'queue_mode', 'flow') = 'flow' and not exists (
    select from pgmq.list_queues() as l
    where l.queue_name = queue or (pgflow._has_queues() and lower(l.queue_name) = queue)
  ) then
    perform pgmq.create(queue);
  end if;
  return flow;
end;
$$;

create function pgflow.add_step(
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
  parents text[] := coalesce(add_step.deps_slugs, '{}');
  step pgflow.steps;
begin
  if add_step.step_type = 'map' and cardinality(parents) > 1 then
    raise exception 'Map step "%" can have at most one dependency, but % were provided: %',
      add_step.step_slug, cardinality(parents), array_to_string(parents, ', ');
  end if;
  if exists (
    select from pgflow.flows as f
    where f.flow_slug = add_step.flow_slug and to_jsonb(f) ->> 'queue_mode' = 'step'
  ) then
    raise exception 'Flow "%" uses per-step queues: steps cannot be added incrementally.', add_step.flow_slug;
  end if;
  insert into pgflow.steps
  select s.*
  from jsonb_populate_record(null::pgflow.steps, jsonb_build_object(
    'flow_slug', add_step.flow_slug,
    'step_slug', add_step.step_slug,
    'step_type', coalesce(add_step.step_type, 'single'),
    'step_index', (
      select coalesce(max(o.step_index) + 1, 0) from pgflow.steps as o where o.flow_slug = add_step.flow_slug
    ),
    'deps_count', cardinality(parents),
    'opt_max_attempts', add_step.max_attempts,
    'opt_base_delay', add_step.base_delay,
    'opt_timeout', add_step.timeout,
    'opt_start_delay', add_step.start_delay,
    'created_at', now(),
    'required_input_pattern', add_step.required_input_pattern,
    'forbidden_input_pattern', add_step.forbidden_input_pattern,
    'when_unmet', add_step.when_unmet,
    'when_exhausted', add_step.when_exhausted,
    'queue_name', lower(add_step.flow_slug)
  )) as s
  on conflict on constraint steps_pkey do nothing;
  insert into pgflow.deps (flow_slug, dep_slug, step_slug)
  select add_step.flow_slug, p, add_step.step_slug from unnest(parents) as p
  on conflict do nothing;
  select s.* into step from pgflow.steps as s
  where s.flow_slug = add_step.flow_slug and s.step_slug = add_step.step_slug;
  return step;
end;
$$;

create function pgflow.delete_flow_and_data(p_flow_slug text)
returns void
language plpgsql
set search_path = ''
as $$
declare
  flow pgflow.flows;
  queues text[];
begin
  select f.* into flow from pgflow.flows as f where f.flow_slug = p_flow_slug;
  if flow.flow_slug is null and pgflow._has_queues() then
    return;
  end if;
  queues := array(
    select pgflow._queue(s) from pgflow.steps as s where s.flow_slug = p_flow_slug
    union
    select case when pgflow._has_queues() then lower(p_flow_slug) else p_flow_slug end
    where coalesce(to_jsonb(flow) ->> 'queue_mode', 'flow') = 'flow'
  );
  perform pgmq.drop_queue(l.queue_name)
  from pgmq.list_queues() as l
  where l.queue_name = any (queues) or (pgflow._has_queues() and lower(l.queue_name) = any (queues));
  delete from pgflow.step_tasks as t where t.flow_slug = p_flow_slug;
  delete from pgflow.step_states as s where s.flow_slug = p_flow_slug;
  delete from pgflow.runs as r where r.flow_slug = p_flow_slug;
  delete from pgflow.deps as d where d.flow_slug = p_flow_slug;
  delete from pgflow.steps as s where s.flow_slug = p_flow_slug;
  delete from pgflow.flows as f where f.flow_slug = p_flow_slug;
end;
$$;

create function pgflow._create_flow_from_shape(p_flow_slug text, p_shape jsonb)
returns void
language sql
set search_path = ''
as $$ select pgflow._create_flow_with_one_queue(p_flow_slug, p_shape); $$;

-- The body behind the forms of ensure_flow_compiled before step queues (core 6.4; generations 3).
create function pgflow._ensure_compiled(p_flow_slug text, p_shape jsonb, p_recompile boolean)
returns jsonb
language plpgsql
as $$
declare
  differences text[];
  status text := 'verified';
begin
  perform pgflow._lock_definition(p_flow_slug);
  if not exists (select from pgflow.flows as f where f.flow_slug = p_flow_slug) then
    perform pgflow._create_flow_from_shape(p_flow_slug, p_shape);
    return '{"status": "compiled", "differences": []}';
  end if;
  differences := pgflow._compare_flow_shapes(p_shape, pgflow._get_flow_shape(p_flow_slug));
  if cardinality(differences) > 0 and p_recompile then
    perform pgflow.delete_flow_and_data(p_flow_slug);
    perform pgflow._create_flow_from_shape(p_flow_slug, p_shape);
    status := 'recompiled';
  elsif cardinality(differences) > 0 then
    status := 'mismatch';
  end if;
  return jsonb_build_object('status', status, 'differences', to_jsonb(differences));
end;
$$;

create function pgflow.ensure_flow_compiled(flow_slug text, shape jsonb, allow_data_loss boolean default false)
returns jsonb
language sql
set search_path = ''
as $$
  select pgflow._ensure_compiled(flow_slug, shape, pgflow.is_local() or coalesce(allow_data_loss, false));
$$;

create function pgflow.track_worker_function(function_name text)
returns void
language sql
as $$
  insert into pgflow.worker_functions (function_name)
  values (track_worker_function.function_name)
  on conflict on constraint worker_functions_pkey do update set updated_at = clock_timestamp();
$$;
