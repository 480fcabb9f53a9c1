-- Completes the running tasks of one wave of outcomes, their steps, and whatever follows; returns the places
-- done. waves[i] tells which outcomes belong to the wave. Left out, with nothing changed: tasks that are not
-- running (in this attempt, for this worker, where those are named), and outputs of the wrong type
-- (_fail_type_violations).
--
-- Rules: core CT-5 to CT-9; O-1: a single step's output is its task's, a map step's the array of all in
-- task_index order, SQL NULL as JSON null. The caller holds the locks of the runs.
create or replace function pgflow_mp._complete_tasks(
  run_ids uuid[], step_slugs text[], task_indexes int[], attempts int[], worker_ids uuid[], outputs jsonb[],
  waves int[], wave int, strict boolean
)
returns int[]
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  live_flows text[] := pgflow_mp._live_flows(run_ids, step_slugs);
  places int[];
  done_runs uuid[];
  done_steps text[];
  done_queues text[];
  done_messages bigint[];
  completed_runs uuid[];
  completed_steps text[];
begin
  with done as (
    update pgflow.step_tasks as t
    set status = 'completed',
        completed_at = greatest(now(), t.started_at),
        output = given.output
    from unnest(
      _complete_tasks.run_ids, _complete_tasks.step_slugs, _complete_tasks.task_indexes, _complete_tasks.attempts,
      _complete_tasks.worker_ids, _complete_tasks.outputs, _complete_tasks.waves, live_flows
    ) with ordinality as given (run_id, step_slug, task_index, attempt, worker_id, output, wave, flow_slug, place)
    cross join lateral (
      select t.ctid as tid
      from pgflow.step_tasks as t
      where t.run_id = given.run_id
        and t.step_slug = given.step_slug
        and t.task_index = given.task_index
      offset 0
    ) as own
    where given.wave = _complete_tasks.wave
      and given.flow_slug is not null
      and t.ctid = own.tid
      and t.status || '' = 'started'
      and (given.attempt is null or t.attempts_count = given.attempt)
      and (given.worker_id is null or t.last_worker_id = given.worker_id)
      and (
        jsonb_typeof(given.output) is not distinct from 'array'
        or not exists (  -- as _child_awaiting_array, which is asked when this fails
          select
          from pgflow.deps as d
          join pgflow.steps as child
            on child.flow_slug = d.flow_slug and child.step_slug = d.step_slug and child.step_type = 'map'
          join pgflow.steps as parent
            on parent.flow_slug = d.flow_slug and parent.step_slug = d.dep_slug and parent.step_type = 'single'
          cross join lateral (
            select
            from pgflow.step_states as child_state
            where child_state.run_id = given.run_id
              and child_state.step_slug = d.step_slug
              and child_state.initial_tasks is null
            offset 0
          ) as unsized
          where d.flow_slug = given.flow_slug
            and d.dep_slug = given.step_slug
        )
      )
    returning given.place, t.run_id, t.step_slug, t.queue_name, t.message_id
  )
  select
    array_agg(done.place), array_agg(done.run_id), array_agg(done.step_slug), array_agg(done.queue_name),
    array_agg(done.message_id)
  into places, done_runs, done_steps, done_queues, done_messages
  from done;
  if places is null then
    return '{}';
  end if;

  with counted as (
    update pgflow.step_states as s
    set remaining_tasks = s.remaining_tasks - done.tasks,
        status = case when s.remaining_tasks = done.tasks then 'completed' else s.status end,
        completed_at = case when s.remaining_tasks = done.tasks then greatest(now(), s.started_at) end,
        output = case
          when s.remaining_tasks > done.tasks then null
          when st.step_type = 'single' then (
            select t.output
            from pgflow.step_tasks as t
            where t.run_id = s.run_id
              and t.step_slug = s.step_slug
              and t.task_index = 0
          )
          else (
            select jsonb_agg(coalesce(t.output, 'null') order by t.task_index)
            from pgflow.step_tasks as t
            where t.run_id = s.run_id
              and t.step_slug = s.step_slug
          )
        end
    from (
      select given.run_id, given.step_slug, count(*) as tasks, max(given.place) as place
      from unnest(done_runs, done_steps, places) as given (run_id, step_slug, place)
      group by given.run_id, given.step_slug
    ) as done
    cross join lateral (
      select own_state.ctid as tid, own_state.flow_slug
      from pgflow.step_states as own_state
      where own_state.run_id = done.run_id
        and own_state.step_slug = done.step_slug
      offset 0
    ) as own
    join pgflow.steps as st on st.flow_slug = own.flow_slug and st.step_slug = done.step_slug
    where s.ctid = own.tid
    returning s.run_id, s.step_slug, s.status, done.place
  )
  select
    array_agg(counted.run_id order by counted.run_id, counted.place),
    array_agg(counted.step_slug order by counted.run_id, counted.place)
  into completed_runs, completed_steps
  from counted
  where counted.status = 'completed';

  if completed_runs is not null then
    if pgflow_mp._events_wanted() then
      perform pgflow_mp._send_step_events('completed', completed_runs, completed_steps);
    end if;
    perform pgflow_mp._release_children(completed_runs, completed_steps);
    perform pgflow_mp._advance_runs(
      pgflow_mp._count_off_steps(completed_runs, steps => 1, and_complete => true), strict);
  end if;
  perform pgflow_mp._archive_messages(done_queues, done_messages);
  return places;
end;
$$;
