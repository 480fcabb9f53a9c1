-- What workers report and what happens to tasks of which nobody reports (core 3.14, 3.15, 5.2; generations 2).
create function pgflow.complete_task(run_id uuid, step_slug text, task_index int, output jsonb)
returns setof pgflow.step_tasks
language plpgsql
set search_path = ''
as $$
declare
  run pgflow.runs;
  state pgflow.step_states;
  task pgflow.step_tasks;
  definition pgflow.steps;
  child text;
begin
  select r.* into run from pgflow.runs as r where r.run_id = complete_task.run_id;
  if run.status = 'failed' then
    return query select * from pgflow._task(complete_task.run_id, complete_task.step_slug, complete_task.task_index);
    return;
  end if;
  select r.* into run from pgflow.runs as r where r.run_id = complete_task.run_id for update;
  select s.* into state from pgflow.step_states as s
  where s.run_id = complete_task.run_id and s.step_slug = complete_task.step_slug
  for update;
  if state.status <> 'started' or (run.status = 'failed' and pgflow._hardened()) then
    perform pgflow._archive_task_message(complete_task.run_id, complete_task.step_slug, complete_task.task_index);
    return query select * from pgflow._task(complete_task.run_id, complete_task.step_slug, complete_task.task_index);
    return;
  end if;
  select s.* into definition from pgflow.steps as s
  where (s.flow_slug, s.step_slug) = (state.flow_slug, state.step_slug);

  if definition.step_type = 'single' and coalesce(jsonb_typeof(complete_task.output), 'null') <> 'array' then
    select c.step_slug into child
    from pgflow.deps as d
    join pgflow.steps as s on (s.flow_slug, s.step_slug) = (d.flow_slug, d.step_slug) and s.step_type = 'map'
    join pgflow.step_states as c on c.run_id = run.run_id and c.step_slug = s.step_slug and c.initial_tasks is null
    where d.flow_slug = state.flow_slug and d.dep_slug = state.step_slug
    limit 1;
    if found then
      return query select * from pgflow._fail_by_type(
        state, complete_task.task_index, complete_task.output, child, coalesce(jsonb_typeof(complete_task.output), 'null')
      );
      return;
    end if;
  end if;

  update pgflow.step_tasks as t
  set status = 'completed', completed_at = now(), output = complete_task.output
  where t.run_id = complete_task.run_id and t.step_slug = complete_task.step_slug
    and t.task_index = complete_task.task_index and t.status = 'started'
  returning t.* into task;
  if found then
    update pgflow.step_states as s set remaining_tasks = s.remaining_tasks - 1
    where s.run_id = run.run_id and s.step_slug = state.step_slug
    returning s.* into state;
    if state.remaining_tasks = 0 then
      state := pgflow._complete_step(state, definition);
      if not pgflow.cascade_resolve_conditions(run.run_id) then
        perform pgflow._archive_task_message(run.run_id, state.step_slug, complete_task.task_index);
        return query select * from pgflow._task(run.run_id, state.step_slug, complete_task.task_index);
        return;
      end if;
      perform pgflow.cascade_complete_taskless_steps(run.run_id);
    end if;
  end if;
  if exists (
    select from pgflow._task(complete_task.run_id, complete_task.step_slug, complete_task.task_index) as t
    where t.status = 'completed'
  ) then
    perform pgflow._archive_task_message(complete_task.run_id, complete_task.step_slug, complete_task.task_index);
  end if;
  perform pgflow.start_ready_steps(complete_task.run_id);
  perform pgflow.maybe_complete_run(complete_task.run_id);
  return query select * from pgflow._task(complete_task.run_id, complete_task.step_slug, complete_task.task_index);
end;
$$;

create function pgflow._task(p_run_id uuid, p_step_slug text, p_task_index int)
returns setof pgflow.step_tasks
language sql
as $$
  select t.*
  from pgflow.step_tasks as t
  where t.run_id = p_run_id and t.step_slug = p_step_slug and t.task_index = p_task_index;
$$;

-- A step whose last task completed: its output, and what its children learn of it (core CT-6, O-1).
create function pgflow._complete_step(p_state pgflow.step_states, p_step pgflow.steps)
returns pgflow.step_states
language plpgsql
as $$
declare
  completed pgflow.step_states;
begin
  update pgflow.step_states as s
  set status = 'completed',
      completed_at = now(),
      output = (
        select case
          when p_step.step_type = 'map' then jsonb_agg(coalesce(t.output, 'null') order by t.task_index)
          else (array_agg(t.output))[1]
        end
        from pgflow.step_tasks as t
        where t.run_id = s.run_id and t.step_slug = s.step_slug
      )
  where s.run_id = p_state.run_id and s.step_slug = p_state.step_slug
  returning s.* into completed;
  perform pgflow._release_children(p_state.run_id, array[p_state.step_slug], p_empty => false);
  update pgflow.step_states as c
  set initial_tasks = case when jsonb_typeof(completed.output) = 'array' then jsonb_array_length(completed.output) end
  from pgflow.deps as d
  join pgflow.steps as s on (s.flow_slug, s.step_slug) = (d.flow_slug, d.step_slug) and s.step_type = 'map'
  where c.run_id = p_state.run_id and c.step_slug = d.step_slug and c.initial_tasks is null
    and d.flow_slug = p_state.flow_slug and d.dep_slug = p_state.step_slug;
  update pgflow.runs as r set remaining_steps = r.remaining_steps - 1 where r.run_id = p_state.run_id;
  perform pgflow._tell_step(completed, jsonb_build_object(
    'output', completed.output, 'completed_at', completed.completed_at
  ));
  return completed;
end;
$$;

-- A step that a map needs an array from gave something else: the run fails, whatever the step says of failures
-- (core CT-4; generations CT-4').
create function pgflow._fail_by_type(
  p_state pgflow.step_states, p_task_index int, p_output jsonb, p_child text, p_type text
)
returns setof pgflow.step_tasks
language plpgsql
as $$
declare
  failed pgflow.step_states;
begin
  update pgflow.runs as r set status = 'failed', failed_at = now() where r.run_id = p_state.run_id;
  perform pgflow._tell_failed_run(p_state.run_id, '{}');
  perform pgflow._archive_task_message(p_state.run_id, p_state.step_slug, p_task_index);
  update pgflow.step_tasks as t
  set status = 'failed', failed_at = now(), output = p_output,
      error_message = format('[TYPE_VIOLATION] Produced %s instead of array', p_type)
  where t.run_id = p_state.run_id and t.step_slug = p_state.step_slug and t.task_index = p_task_index;
  perform pgflow._end_tasks(p_state.run_id, null, 'cancelled');
  update pgflow.step_states as s
  set status = 'failed', failed_at = now(), error_message = format(
    '[TYPE_VIOLATION] Map step %s expects array input but dependency %s produced %s', p_child, s.step_slug, p_type
  )
  where s.run_id = p_state.run_id and s.step_slug = p_state.step_slug
  returning s.* into failed;
  perform pgflow._tell_step(failed, jsonb_build_object(
    'error_message', failed.error_message, 'failed_at', failed.failed_at
  ));
  return query select * from pgflow._task(p_state.run_id, p_state.step_slug, p_task_index);
end;
$$;

create function pgflow.fail_task(run_id uuid, step_slug text, task_index int, error_message text)
returns setof pgflow.step_tasks
language plpgsql
set search_path = ''
as $$
declare
  run pgflow.runs;
  state pgflow.step_states;
  task pgflow.step_tasks;
  definition pgflow.steps;
  defaults pgflow.flows;
  delay_base int;
begin
  select r.* into run from pgflow.runs as r where r.run_id = fail_task.run_id;
  if run.status = 'started' then
    select r.* into run from pgflow.runs as r where r.run_id = fail_task.run_id for update;
    select s.* into state from pgflow.step_states as s
    where s.run_id = fail_task.run_id and s.step_slug = fail_task.step_slug
    for update;
  end if;
  if run.status = 'failed' and (state.run_id is null or pgflow._hardened()) then
    update pgflow.step_tasks as t
    set status = 'failed', failed_at = now(), error_message = fail_task.error_message
    where not pgflow._hardened() and t.status = 'started'
      and t.run_id = fail_task.run_id and t.step_slug = fail_task.step_slug and t.task_index = fail_task.task_index;
    perform pgflow._archive_task_message(fail_task.run_id, fail_task.step_slug, fail_task.task_index);
    return query select * from pgflow._task(fail_task.run_id, fail_task.step_slug, fail_task.task_index);
    return;
  end if;
  if state.status is distinct from 'started' then
    perform pgflow._archive_task_message(fail_task.run_id, fail_task.step_slug, fail_task.task_index);
    return query select * from pgflow._task(fail_task.run_id, fail_task.step_slug, fail_task.task_index);
    return;
  end if;
  select s.* into definition from pgflow.steps as s
  where (s.flow_slug, s.step_slug) = (state.flow_slug, state.step_slug);
  select f.* into defaults from pgflow.flows as f where f.flow_slug = state.flow_slug;
  delay_base := coalesce(definition.opt_base_delay, defaults.opt_base_delay);

  select t.* into task
  from pgflow._task(fail_task.run_id, fail_task.step_slug, fail_task.task_index) as t
  where t.status = 'started';
  if found and task.attempts_count < coalesce(definition.opt_max_attempts, defaults.opt_max_attempts) then
    update pgflow.step_tasks as t
    set status = 'queued', started_at = null, error_message = fail_task.error_message
    where (t.run_id, t.step_slug, t.task_index) = (task.run_id, task.step_slug, task.task_index);
    update pgflow.step_states as s set error_message = null
    where s.run_id = state.run_id and s.step_slug = state.step_slug;
  elsif found then
    perform pgflow._exhaust(state, definition, task.task_index, fail_task.error_message);
  end if;

  select t.* into task from pgflow._task(fail_task.run_id, fail_task.step_slug, fail_task.task_index) as t;
  if task.status = 'queued' then
    perform pgmq.set_vt(
      pgflow._queue(task), task.message_id, pgflow.calculate_retry_delay(delay_base, task.attempts_count)
    );
  elsif task.status = 'failed' then
    perform pgflow._archive_task_message(task.run_id, task.step_slug, task.task_index);
  end if;
  return query select * from pgflow._task(fail_task.run_id, fail_task.step_slug, fail_task.task_index);
end;
$$;

-- A task without attempts left: it fails, and its step fails with the run or is skipped (core FT-5 to FT-10).
create function pgflow._exhaust(p_state pgflow.step_states, p_step pgflow.steps, p_task_index int, p_error text)
returns void
language plpgsql
as $$
declare
  state pgflow.step_states;
begin
  update pgflow.step_tasks as t
  set status = 'failed', failed_at = now(), error_message = p_error
  where t.run_id = p_state.run_id and t.step_slug = p_state.step_slug and t.task_index = p_task_index;
  if p_step.when_exhausted = 'fail' then
    update pgflow.step_states as s set status = 'failed', failed_at = now(), error_message = p_error
    where s.run_id = p_state.run_id and s.step_slug = p_state.step_slug
    returning s.* into state;
    update pgflow.runs as r set status = 'failed', failed_at = now() where r.run_id = p_state.run_id;
    perform pgflow._tell_step(state, jsonb_build_object('error_message', p_error, 'failed_at', state.failed_at));
    perform pgflow._tell_failed_run(p_state.run_id, jsonb_build_object('error_message', p_error));
    perform pgflow._end_tasks(p_state.run_id, null, 'cancelled');
    return;
  end if;
  update pgflow.step_states as s
  set status = 'skipped', skipped_at = now(), skip_reason = 'handler_failed', error_message = p_error,
      remaining_tasks = null
  where s.run_id = p_state.run_id and s.step_slug = p_state.step_slug
  returning s.* into state;
  update pgflow.runs as r set remaining_steps = r.remaining_steps - 1 where r.run_id = p_state.run_id;
  perform pgflow._end_tasks(p_state.run_id, array[p_state.step_slug], 'skipped');
  perform pgflow._tell_step(state, jsonb_build_object(
    'skip_reason', 'handler_failed', 'error_message', p_error, 'skipped_at', state.skipped_at
  ));
  if p_step.when_exhausted = 'skip-cascade' then
    perform pgflow._cascade_force_skip_steps(p_state.run_id, p_state.step_slug, 'handler_failed');
  else
    perform pgflow._release_children(p_state.run_id, array[p_state.step_slug], p_empty => true);
    if not pgflow.cascade_resolve_conditions(p_state.run_id) then
      return;
    end if;
    perform pgflow.cascade_complete_taskless_steps(p_state.run_id);
    perform pgflow.start_ready_steps(p_state.run_id);
  end if;
  perform pgflow.maybe_complete_run(p_state.run_id);
end;
$$;

-- Before 0.15.1 by the flow's timeout, whatever became of step and run (core ST-1, ST-7). What was given up stays
-- started, and its message is archived only when the same sweep requeued something (generations RQ-2).
create function pgflow.requeue_stalled_tasks()
returns int
language plpgsql
security definer
set search_path = ''
as $$
declare
  stalled pgflow.step_tasks;
  given_up pgflow.step_tasks[] := '{}';
  requeued int := 0;
begin
  for stalled in
    select t.*
    from pgflow.step_tasks as t
    join pgflow.runs as r using (run_id)
    join pgflow.step_states as st using (run_id, step_slug)
    join pgflow.flows as f on f.flow_slug = t.flow_slug
    join pgflow.steps as s on s.flow_slug = t.flow_slug and s.step_slug = t.step_slug
    where t.status = 'started' and t.permanently_stalled_at is null
      and (not pgflow._hardened() or (r.status = 'started' and st.status = 'started'))
      and t.started_at < now() - make_interval(secs => 30 + case
        when pgflow._hardened() then coalesce(s.opt_timeout, f.opt_timeout)
        else f.opt_timeout
      end)
    for update of t skip locked
  loop
    if stalled.requeued_count < 3 then
      update pgflow.step_tasks as t
      set status = 'queued', started_at = null, last_worker_id = null, requeued_count = t.requeued_count + 1,
          last_requeued_at = now()
      where (t.run_id, t.step_slug, t.task_index) = (stalled.run_id, stalled.step_slug, stalled.task_index);
      perform pgmq.set_vt(pgflow._queue(stalled), stalled.message_id, 0);
      requeued := requeued + 1;
    else
      update pgflow.step_tasks as t set permanently_stalled_at = now()
      where (t.run_id, t.step_slug, t.task_index) = (stalled.run_id, stalled.step_slug, stalled.task_index);
      given_up := given_up || stalled;
    end if;
  end loop;
  if requeued > 0 then
    perform pgmq.archive(pgflow._queue(g), g.message_id) from unnest(given_up) as g;
  end if;
  return requeued;
end;
$$;
