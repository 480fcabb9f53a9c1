-- Starts up to wanted tasks among those of the given messages of one queue, and returns them with their inputs.
-- Startable: task queued, run started, step started (core 3.13.1); with only_step only that step's. The oldest
-- messages come first, whatever the plan; the lookups follow their order, so no more tasks are locked than wanted.
--
-- Order of locks: task rows (skipping those that another session holds), then queue rows (D-2). The messages of
-- the locked tasks are hidden for the effective timeout + 2 s (generations ST5-2) and only tasks whose message
-- was still there are started (strict: a missing one fails the claim, ST5-3; only_visible: and that nobody else has read in
-- the meantime, who may be about to start them with a claim that does not look at what ours has done); started_at is never before
-- queued_at, although our transaction may be older than the task (core X-3).
--
-- Rows are looked up in `lateral (... offset 0)` and changed by ctid: README.md says why.
create or replace function pgflow_mp._claim_messages(
  flow_slug text, queue_name text, only_step text, msg_ids bigint[], worker_id uuid, wanted int,
  strict boolean default false, only_visible boolean default false
)
returns table (
  run_id uuid, step_slug text, task_index int, msg_id bigint, attempt int, timeout int, input jsonb, flow_input jsonb
)
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  ids bigint[];
  tids tid[];
  found_ids bigint[];
  delays double precision[];
begin
  with claimable as (
    select task.message_id, task.tid, step.timeout
    from (select distinct id from unnest(_claim_messages.msg_ids) as id order by id) as message
    cross join lateral (
      select t.message_id, t.ctid as tid, t.flow_slug, t.run_id, t.step_slug
      from pgflow.step_tasks as t
      where t.queue_name = _claim_messages.queue_name
        and t.message_id = message.id
        and t.flow_slug = _claim_messages.flow_slug
        and t.status = 'queued'
        and (_claim_messages.only_step is null or t.step_slug = _claim_messages.only_step)
      for update skip locked
      offset 0
    ) as task
    cross join lateral (
      select from pgflow.runs as r where r.run_id = task.run_id and r.status = 'started' offset 0
    ) as live_run
    cross join lateral (
      select
      from pgflow.step_states as s
      where s.run_id = task.run_id
        and s.step_slug = task.step_slug
        and s.status = 'started'
      offset 0
    ) as live_step
    cross join lateral (
      select coalesce(st.opt_timeout, f.opt_timeout) as timeout
      from pgflow.steps as st
      join pgflow.flows as f on f.flow_slug = st.flow_slug
      where st.flow_slug = task.flow_slug
        and st.step_slug = task.step_slug
      offset 0
    ) as step
    order by message.id
    limit _claim_messages.wanted
  )
  select array_agg(c.message_id), array_agg(c.tid), array_agg(c.timeout + 2.0)
  into ids, tids, delays
  from claimable as c;
  if ids is null then
    return;
  end if;

  select coalesce(array_agg(found.message_id), '{}') into found_ids
  from pgflow_mp._delay_messages(array_fill(queue_name, array[cardinality(ids)]), ids, delays, reads => 1,
    only_visible => _claim_messages.only_visible) as found;
  if strict and cardinality(found_ids) < cardinality(ids) then
    raise invalid_text_representation using message = format(
      'invalid input syntax for type integer: "start_tasks(): visibility updated %s of %s claimed messages"',
      cardinality(found_ids), cardinality(ids));
  end if;

  return query
    with started as (
      update pgflow.step_tasks as t
      set status = 'started',
          attempts_count = t.attempts_count + 1,
          started_at = greatest(now(), t.queued_at),
          last_worker_id = _claim_messages.worker_id
      from unnest(ids, tids) as mine (message_id, tid)
      where mine.message_id = any(found_ids)
        and t.ctid = mine.tid
        and t.status || '' = 'queued'
      returning t.run_id, t.step_slug, t.task_index, t.message_id, t.attempts_count
    ),
    started_step as (
      select
        started.run_id, started.step_slug,
        array_agg(started.task_index) as task_indexes,
        array_agg(started.message_id) as message_ids,
        array_agg(started.attempts_count) as attempts
      from started
      group by started.run_id, started.step_slug
    ),
    -- Looked up once a step, not once a task; #> '{}' hands the whole array on unpacked, so that picking the elements
    -- of a large map does not unpack it for each of them.
    step as materialized (
      select
        started_step.*, st.step_type, st.deps_count,
        coalesce(st.opt_timeout, f.opt_timeout) as timeout,
        case
          when st.deps_count = 0 then r.input #> '{}'
          when st.step_type = 'single' then pgflow_mp._parent_outputs(r.run_id, r.flow_slug, st.step_slug)
          else (
            select parent.elements
            from pgflow.deps as d
            cross join lateral (
              select own.output #> '{}' as elements
              from pgflow.step_states as own
              where own.run_id = r.run_id
                and own.step_slug = d.dep_slug
              offset 0
            ) as parent
            where d.flow_slug = r.flow_slug
              and d.step_slug = st.step_slug
          )
        end as input
      from started_step
      cross join lateral (
        select own.* from pgflow.runs as own where own.run_id = started_step.run_id offset 0
      ) as r
      join pgflow.steps as st on st.flow_slug = r.flow_slug and st.step_slug = started_step.step_slug
      join pgflow.flows as f on f.flow_slug = r.flow_slug
    )
    select
      step.run_id, step.step_slug, task.task_index, task.message_id, task.attempt, step.timeout,
      case
        when step.step_type = 'map' then step.input -> task.task_index
        when step.deps_count = 0 then '{}'
        else step.input
      end,
      case when step.step_type = 'single' and step.deps_count = 0 then step.input end
    from step
    cross join lateral unnest(step.task_indexes, step.message_ids, step.attempts)
      as task (task_index, message_id, attempt)
    order by task.message_id;
end;
$$;
