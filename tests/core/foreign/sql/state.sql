-- The state machine of the contract, one run and one step at a time, in the simplest words. It serves every
-- generation: what differs between them it reads from the tables (`_hardened`, `_has_queues`, `_queue`).

-- Whether the rules of 0.15.1 hold: the task row knows six statuses (generations 2).
create function pgflow._hardened()
returns boolean
language sql
stable
as $$
  select pg_get_constraintdef(oid) like '%cancelled%'
  from pg_constraint
  where conrelid = 'pgflow.step_tasks'::regclass and conname = 'valid_status';
$$;

-- Whether steps and tasks name their queue (generations 4).
create function pgflow._has_queues()
returns boolean
language sql
stable
as $$
  select exists (
    select from pg_attribute where attrelid = 'pgflow.steps'::regclass and attname = 'queue_name'
  );
$$;

-- The queue of a step, or of a task: its own name for it, else the flow's slug as it is written (core Q-1).
create function pgflow._queue(thing anyelement)
returns text
language sql
stable
as $$ select coalesce(to_jsonb(thing) ->> 'queue_name', to_jsonb(thing) ->> 'flow_slug'); $$;

create function pgflow._tell(p_run_id uuid, p_event text, p_payload jsonb)
returns void
language plpgsql
as $$
begin
  perform realtime.send(
    p_payload || jsonb_build_object('run_id', p_run_id), p_event, format('pgflow:run:%s', p_run_id), false
  );
end;
$$;

create function pgflow._tell_step(p_state pgflow.step_states, p_payload jsonb)
returns void
language sql
as $$
  select pgflow._tell(
    p_state.run_id,
    format('step:%s:%s', p_state.step_slug, p_state.status),
    jsonb_build_object(
      'event_type', 'step:' || p_state.status, 'step_slug', p_state.step_slug, 'status', p_state.status
    ) || p_payload
  );
$$;

create function pgflow._tell_failed_run(p_run_id uuid, p_payload jsonb)
returns void
language sql
as $$
  select pgflow._tell(
    r.run_id, 'run:failed',
    jsonb_build_object(
      'event_type', 'run:failed', 'status', 'failed', 'flow_slug', r.flow_slug, 'failed_at', r.failed_at
    ) || p_payload
  )
  from pgflow.runs as r
  where r.run_id = p_run_id;
$$;

create function pgflow._archive_task_message(p_run_id uuid, p_step_slug text, p_task_index int)
returns void
language sql
set search_path = ''
as $$
  select pgmq.archive(pgflow._queue(t), t.message_id)
  from pgflow.step_tasks as t
  where t.run_id = p_run_id and t.step_slug = p_step_slug and t.task_index = p_task_index and t.message_id is not null;
$$;

-- Ends the queued and started tasks of some steps, or (NULL) of the whole run: their messages are archived and, since
-- 0.15.1, their rows say so first (core 3.9.6, 3.11.5, FT-9, FT-10; generations TS-1, TS-2, TS-5).
create function pgflow._end_tasks(p_run_id uuid, p_steps text[], p_status text)
returns void
language plpgsql
as $$
declare
  ended pgflow.step_tasks[] := array(
    select t
    from pgflow.step_tasks as t
    where t.run_id = p_run_id and t.status in ('queued', 'started')
      and (p_steps is null or t.step_slug = any (p_steps))
    order by t.step_slug, t.task_index
    for update
  );
begin
  if pgflow._hardened() then
    update pgflow.step_tasks as t
    set status = p_status
    from unnest(ended) as e
    where (t.run_id, t.step_slug, t.task_index) = (e.run_id, e.step_slug, e.task_index);
  end if;
  perform pgmq.archive(pgflow._queue(e), e.message_id) from unnest(ended) as e where e.message_id is not null;
end;
$$;

-- What a step that depends on others gets: the outputs of its completed parents (core 3.9.3, 3.13.3).
create function pgflow._outputs_of_parents(p_run_id uuid, p_step_slug text)
returns jsonb
language sql
stable
as $$
  select coalesce(jsonb_object_agg(s.step_slug, s.output), '{}')
  from pgflow.runs as r
  join pgflow.deps as d on d.flow_slug = r.flow_slug and d.step_slug = p_step_slug
  join pgflow.step_states as s on s.run_id = r.run_id and s.step_slug = d.dep_slug and s.status = 'completed'
  where r.run_id = p_run_id;
$$;

-- Tells the children of some steps that ended without work that they need not wait for them. Those which are maps, and
-- had no other parent where p_only_child, have no tasks then (core 3.9.7, 3.10.2, FT-9).
create function pgflow._release_children(p_run_id uuid, p_steps text[], p_empty boolean)
returns void
language sql
as $$
  update pgflow.step_states as c
  set remaining_deps = c.remaining_deps - parents.ended,
      initial_tasks = case when p_empty and s.step_type = 'map' then 0 else c.initial_tasks end
  from (
    select r.flow_slug, d.step_slug, count(*)::int as ended
    from pgflow.runs as r
    join pgflow.deps as d on d.flow_slug = r.flow_slug
    where r.run_id = p_run_id and d.dep_slug = any (p_steps)
    group by r.flow_slug, d.step_slug
  ) as parents
  join pgflow.steps as s using (flow_slug, step_slug)
  where c.run_id = p_run_id and c.step_slug = parents.step_slug;
$$;

create function pgflow._cascade_force_skip_steps(run_id uuid, step_slug text, skip_reason text)
returns int
language plpgsql
as $$
declare
  flow text := (select r.flow_slug from pgflow.runs as r where r.run_id = _cascade_force_skip_steps.run_id);
  changed pgflow.step_states;
  names text[] := '{}';
begin
  if flow is null then
    raise exception 'Run not found: %', _cascade_force_skip_steps.run_id;
  end if;
  for changed in
    with recursive reached as (
      select _cascade_force_skip_steps.step_slug as slug
      union
      select d.step_slug
      from reached
      join pgflow.deps as d on d.flow_slug = flow and d.dep_slug = reached.slug
    ), skipped as (
      update pgflow.step_states as s
      set status = 'skipped',
          skipped_at = now(),
          remaining_tasks = null,
          skip_reason = case
            when s.step_slug = _cascade_force_skip_steps.step_slug then _cascade_force_skip_steps.skip_reason
            else 'dependency_skipped'
          end
      from reached
      where s.run_id = _cascade_force_skip_steps.run_id and s.step_slug = reached.slug
        and s.status in ('created', 'started')
      returning s.*
    )
    select k.*
    from skipped as k
    join pgflow.steps as d on d.flow_slug = flow and d.step_slug = k.step_slug
    order by d.step_index
  loop
    names := names || changed.step_slug;
    perform pgflow._tell_step(changed, jsonb_build_object(
      'flow_slug', flow, 'skip_reason', changed.skip_reason, 'skipped_at', changed.skipped_at
    ));
  end loop;
  perform pgflow._end_tasks(_cascade_force_skip_steps.run_id, names, 'skipped');
  update pgflow.runs as r
  set remaining_steps = r.remaining_steps - cardinality(names)
  where r.run_id = _cascade_force_skip_steps.run_id and cardinality(names) > 0;
  return cardinality(names);
end;
$$;

create function pgflow.cascade_resolve_conditions(run_id uuid)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  run pgflow.runs;
  unmet record;
  skipped text[];
  failed pgflow.step_states;
begin
  for round in 1..51 loop
    select r.* into run from pgflow.runs as r where r.run_id = cascade_resolve_conditions.run_id;
    if run.status is distinct from 'started' then
      return run.status is distinct from 'failed';
    end if;
    if round = 51 then
      raise exception 'cascade_resolve_conditions exceeded safety limit of 50 iterations';
    end if;

    skipped := '{}';
    -- Failing ones first, by index; then skips; then cascades.
    for unmet in
      select s.step_slug, s.when_unmet
      from pgflow.step_states as st
      join pgflow.steps as s using (flow_slug, step_slug)
      cross join lateral (
        select case
          when s.deps_count = 0 then run.input else pgflow._outputs_of_parents(run.run_id, s.step_slug)
        end as tested
      ) as i
      where st.run_id = run.run_id and st.status = 'created' and st.remaining_deps = 0
        and (not i.tested @> s.required_input_pattern or i.tested @> s.forbidden_input_pattern)
      order by array_position('{fail,skip,skip-cascade}', s.when_unmet), s.step_index
    loop
      if unmet.when_unmet = 'fail' then
        update pgflow.runs as r set status = 'failed', failed_at = now()
        where r.run_id = run.run_id and r.status = 'started';
        if not found then
          return false;
        end if;
        update pgflow.step_states as s
        set status = 'failed', failed_at = now(), error_message = 'Condition not met'
        where s.run_id = run.run_id and s.step_slug = unmet.step_slug
        returning s.* into failed;
        perform pgflow._tell_step(failed, jsonb_build_object(
          'error_message', failed.error_message, 'failed_at', failed.failed_at
        ));
        perform pgflow._tell_failed_run(run.run_id, '{"error_message": "Condition not met"}');
        perform pgflow._end_tasks(run.run_id, null, 'cancelled');
        return false;
      elsif unmet.when_unmet = 'skip' then
        skipped := skipped || unmet.step_slug;
      else
        perform pgflow._cascade_force_skip_steps(run.run_id, unmet.step_slug, 'condition_unmet');
      end if;
    end loop;
    if cardinality(skipped) > 0 then
      perform pgflow._skip_steps(run.run_id, skipped);
    else
      return true;
    end if;
  end loop;
end;
$$;

-- Skips steps whose conditions are unmet, and nothing else; their children go on (core 3.9.7).
create function pgflow._skip_steps(p_run_id uuid, p_steps text[])
returns void
language plpgsql
as $$
declare
  skipped pgflow.step_states;
begin
  for skipped in
    update pgflow.step_states as s
    set status = 'skipped', skip_reason = 'condition_unmet', skipped_at = now(), remaining_tasks = null
    where s.run_id = p_run_id and s.step_slug = any (p_steps) and s.status = 'created'
    returning s.*
  loop
    perform pgflow._release_children(p_run_id, array[skipped.step_slug], p_empty => true);
    update pgflow.runs as r set remaining_steps = r.remaining_steps - 1 where r.run_id = p_run_id;
    perform pgflow._tell_step(skipped, jsonb_build_object(
      'flow_slug', skipped.flow_slug, 'skip_reason', skipped.skip_reason, 'skipped_at', skipped.skipped_at
    ));
  end loop;
end;
$$;

create function pgflow.cascade_complete_taskless_steps(run_id uuid)
returns int
language plpgsql
as $$
declare
  completed pgflow.step_states;
  names text[];
  total int := 0;
begin
  for round in 1..51 loop
    if round = 51 then
      raise exception 'Cascade loop exceeded safety limit of 50 iterations';
    end if;
    names := '{}';
    for completed in
      update pgflow.step_states as st
      set status = 'completed', started_at = now(), completed_at = now(), remaining_tasks = 0,
          output = case when s.step_type = 'map' then '[]'::jsonb end
      from pgflow.steps as s
      where st.run_id = cascade_complete_taskless_steps.run_id and st.status = 'created'
        and st.remaining_deps = 0 and st.initial_tasks = 0
        and (s.flow_slug, s.step_slug) = (st.flow_slug, st.step_slug)
      returning st.*
    loop
      names := names || completed.step_slug;
      perform pgflow._tell_step(completed, to_jsonb(completed)
        - '{flow_slug,run_id,initial_tasks,error_message,skip_reason,skipped_at,created_at,failed_at}'::text[]);
    end loop;
    exit when cardinality(names) = 0;
    perform pgflow._release_children(cascade_complete_taskless_steps.run_id, names, p_empty => true);
    update pgflow.runs as r
    set remaining_steps = r.remaining_steps - cardinality(names)
    where r.run_id = cascade_complete_taskless_steps.run_id;
    total := total + cardinality(names);
  end loop;
  return total;
end;
$$;

create function pgflow.start_ready_steps(run_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
declare
  ready pgflow.step_states;
  definition pgflow.steps;
begin
  if exists (
    select from pgflow.runs as r
    where r.run_id = start_ready_steps.run_id and r.status in ('failed', 'completed')
  ) then
    return;
  end if;
  for ready in
    select s.*
    from pgflow.step_states as s
    where s.run_id = start_ready_steps.run_id and s.status = 'created' and s.remaining_deps = 0 and s.initial_tasks > 0
    order by s.step_slug
    for update
  loop
    update pgflow.step_states as s
    set status = 'started', started_at = now(), remaining_tasks = s.initial_tasks
    where s.run_id = ready.run_id and s.step_slug = ready.step_slug
    returning s.* into ready;
    select s.* into definition from pgflow.steps as s
    where (s.flow_slug, s.step_slug) = (ready.flow_slug, ready.step_slug);
    perform pgflow._queue_tasks(ready, definition);
    perform pgflow._tell_step(ready, jsonb_build_object(
      'started_at', ready.started_at, 'remaining_tasks', ready.remaining_tasks, 'remaining_deps', ready.remaining_deps
    ));
  end loop;
end;
$$;

-- The tasks of a step that starts, and a message for each, in order of their index (core 3.8.4).
create function pgflow._queue_tasks(p_state pgflow.step_states, p_step pgflow.steps)
returns void
language sql
as $$
  with task as (
    select i - 1 as index,
           jsonb_build_object('flow_slug', p_state.flow_slug, 'run_id', p_state.run_id, 'step_slug', p_state.step_slug,
                              'task_index', i - 1) as message
    from generate_series(1, p_state.initial_tasks) as i
  ), sent as (
    select m.id, m.place
    from pgmq.send_batch(
      pgflow._queue(p_step), (select array_agg(task.message order by task.index) from task),
      coalesce(p_step.opt_start_delay, 0)
    ) with ordinality as m (id, place)
  )
  insert into pgflow.step_tasks
  select row_of.*
  from task
  join sent on sent.place = task.index + 1
  cross join lateral jsonb_populate_record(null::pgflow.step_tasks, task.message || jsonb_build_object(
    'message_id', sent.id, 'status', 'queued', 'attempts_count', 0, 'requeued_count', 0, 'queued_at', now(),
    'queue_name', pgflow._queue(p_step)
  )) as row_of;
$$;

create function pgflow.maybe_complete_run(run_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
declare
  completed pgflow.runs;
begin
  update pgflow.runs as r
  set status = 'completed',
      completed_at = now(),
      output = (
        select jsonb_object_agg(s.step_slug, s.output)
        from pgflow.step_states as s
        where s.run_id = r.run_id and s.status = 'completed'
          and not exists (
            select from pgflow.deps as d where d.flow_slug = s.flow_slug and d.dep_slug = s.step_slug
          )
      )
  where r.run_id = maybe_complete_run.run_id and r.remaining_steps = 0 and r.status <> 'completed'
  returning r.* into completed;
  if completed.run_id is not null then
    perform pgflow._tell(completed.run_id, 'run:completed', jsonb_build_object(
      'event_type', 'run:completed', 'status', 'completed', 'flow_slug', completed.flow_slug,
      'output', completed.output, 'completed_at', completed.completed_at
    ));
  end if;
end;
$$;

create function pgflow.start_flow(flow_slug text, input jsonb, run_id uuid default null)
returns setof pgflow.runs
language plpgsql
set search_path = ''
as $$
declare
  run pgflow.runs;
begin
  if exists (
    select from pgflow.steps as s
    where s.flow_slug = start_flow.flow_slug and s.step_type = 'map' and s.deps_count = 0
  ) then
    if start_flow.input is null then
      raise exception 'Flow % has root map steps but input is NULL', start_flow.flow_slug;
    elsif jsonb_typeof(start_flow.input) <> 'array' then
      raise exception 'Flow % has root map steps but input is not an array (got %)',
        start_flow.flow_slug, jsonb_typeof(start_flow.input);
    end if;
  end if;
  insert into pgflow.runs (run_id, flow_slug, input, remaining_steps)
  select coalesce(start_flow.run_id, gen_random_uuid()), start_flow.flow_slug, start_flow.input, (
    select count(*) from pgflow.steps as s where s.flow_slug = start_flow.flow_slug
  )
  returning * into run;
  insert into pgflow.step_states (flow_slug, run_id, step_slug, remaining_deps, initial_tasks)
  select s.flow_slug, run.run_id, s.step_slug, s.deps_count, case
    when s.step_type = 'single' then 1
    when s.deps_count = 0 then case when jsonb_typeof(run.input) = 'array' then jsonb_array_length(run.input) end
  end
  from pgflow.steps as s
  where s.flow_slug = run.flow_slug;
  perform pgflow._tell(run.run_id, 'run:started', jsonb_build_object(
    'event_type', 'run:started', 'status', 'started', 'flow_slug', run.flow_slug, 'input', run.input,
    'remaining_steps', run.remaining_steps, 'started_at', run.started_at
  ));
  if pgflow.cascade_resolve_conditions(run.run_id) then
    perform pgflow.cascade_complete_taskless_steps(run.run_id);
    perform pgflow.start_ready_steps(run.run_id);
    perform pgflow.maybe_complete_run(run.run_id);
  end if;
  return query select r.* from pgflow.runs as r where r.run_id = run.run_id;
end;
$$;
