-- How tasks start: before 0.15.1, from then on, and by queue.

-- What a task gets to work on (core 3.13.3).
create function pgflow._task_inputs(p_task pgflow.step_tasks, out input jsonb, out flow_input jsonb)
language sql
stable
as $$
  select
    case
      when s.step_type = 'map' and s.deps_count = 0 then r.input -> p_task.task_index
      when s.step_type = 'map' then (
        select p.output -> p_task.task_index
        from pgflow.deps as d
        join pgflow.step_states as p on p.run_id = p_task.run_id and p.step_slug = d.dep_slug
        where d.flow_slug = p_task.flow_slug and d.step_slug = p_task.step_slug
      )
      else pgflow._outputs_of_parents(p_task.run_id, p_task.step_slug)
    end,
    case when s.step_type = 'single' and s.deps_count = 0 then r.input end
  from pgflow.steps as s
  join pgflow.runs as r on r.run_id = p_task.run_id
  where s.flow_slug = p_task.flow_slug and s.step_slug = p_task.step_slug;
$$;

-- The tasks that some messages may start now (core 3.13.1).
create function pgflow._startable(p_flow_slug text, p_msg_ids bigint[], p_queue text, p_step_slug text)
returns setof pgflow.step_tasks
language sql
stable
as $$
  select t.*
  from pgflow.step_tasks as t
  join pgflow.runs as r on r.run_id = t.run_id and r.status = 'started'
  join pgflow.step_states as s on s.run_id = t.run_id and s.step_slug = t.step_slug and s.status = 'started'
  where t.flow_slug = p_flow_slug and t.message_id = any (p_msg_ids) and t.status = 'queued'
    and (p_queue is null or pgflow._queue(t) = p_queue)
    and (p_step_slug is null or t.step_slug = p_step_slug);
$$;

-- The claim of 0.14: what it selected is what it returns, whoever updated it (core 3.13.6), and the visibility of the
-- messages stays as the poll left it (core 3.13.5).
create function pgflow.start_tasks(flow_slug text, msg_ids bigint[], worker_id uuid)
returns setof pgflow.step_task_record
language plpgsql
set search_path = ''
as $$
begin
  return query
  with chosen as materialized (
    select s as task, s.run_id, s.step_slug, s.task_index, s.message_id
    from pgflow._startable(start_tasks.flow_slug, start_tasks.msg_ids, null, null) as s
  ), updated as (
    update pgflow.step_tasks as t
    set status = 'started', started_at = now(), attempts_count = t.attempts_count + 1,
        last_worker_id = start_tasks.worker_id
    from chosen
    where (t.run_id, t.step_slug, t.task_index) = (chosen.run_id, chosen.step_slug, chosen.task_index)
      and t.status = 'queued'
  )
  select start_tasks.flow_slug, c.run_id, c.step_slug, i.input, c.message_id, c.task_index, i.flow_input
  from chosen as c
  cross join lateral pgflow._task_inputs(c.task) as i;
end;
$$;

-- The claim since 0.15.1: only what this call updated, and its messages invisible for the timeout and 2 s, or nothing
-- at all (generations ST5-1 to ST5-3).
create function pgflow._start_tasks(p_flow_slug text, p_msg_ids bigint[], p_worker_id uuid, p_queue text, p_step text)
returns setof pgflow.step_tasks
language plpgsql
as $$
declare
  taken pgflow.step_tasks[];
  moved int;
begin
  with updated as (
    update pgflow.step_tasks as t
    set status = 'started', started_at = now(), attempts_count = t.attempts_count + 1, last_worker_id = p_worker_id
    from pgflow._startable(p_flow_slug, p_msg_ids, p_queue, p_step) as chosen
    where (t.run_id, t.step_slug, t.task_index) = (chosen.run_id, chosen.step_slug, chosen.task_index)
      and t.status = 'queued'
    returning t.*
  )
  select array_agg(u::pgflow.step_tasks) into taken from updated as u;
  if taken is null then
    return;
  end if;
  select count(*) into moved
  from (
    select pgflow._queue(t) as queue, array_agg(t.message_id) as ids,
           array_agg(coalesce(s.opt_timeout, f.opt_timeout) + 2) as seconds
    from unnest(taken) as t
    join pgflow.flows as f on f.flow_slug = t.flow_slug
    join pgflow.steps as s on s.flow_slug = t.flow_slug and s.step_slug = t.step_slug
    group by pgflow._queue(t)
  ) as q
  cross join lateral pgflow.set_vt_batch(q.queue, q.ids, q.seconds) as m;
  if moved <> cardinality(taken) then
    perform format('start_tasks(): visibility updated %s of %s claimed messages', moved, cardinality(taken))::int;
  end if;
  return query select * from unnest(taken);
end;
$$;
