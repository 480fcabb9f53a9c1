-- Announces steps that were just started and creates their tasks and messages, in the order given (core 3.8.3-6).
-- A message's body names its task, so the task rows are made from what the queue gave back; no order is relied
-- on. Wakes the workers of queues that got visible messages.
create or replace function pgflow_mp._enqueue_tasks(run_ids uuid[], step_slugs text[])
returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  batch record;
  awake text[] := '{}';
begin
  if pgflow_mp._events_wanted() then
    perform pgflow_mp._send_step_events('started', run_ids, step_slugs);
  end if;

  for batch in
    select
      ready.queue_name,
      bool_or(ready.delay = 0) as visible,
      array_agg(ready.flow_slug) as flow_slugs,
      array_agg(ready.run_id) as run_ids,
      array_agg(ready.step_slug) as step_slugs,
      array_agg(ready.initial_tasks) as sizes,
      array_agg(ready.delay) as delays
    from (
      select st.queue_name, s.flow_slug, s.run_id, s.step_slug, s.initial_tasks, coalesce(st.opt_start_delay, 0) as delay
      from unnest(_enqueue_tasks.run_ids, _enqueue_tasks.step_slugs)
        with ordinality as given (run_id, step_slug, place)
      cross join lateral (
        select own.*
        from pgflow.step_states as own
        where own.run_id = given.run_id
          and own.step_slug = given.step_slug
        offset 0
      ) as s
      join pgflow.steps as st on st.flow_slug = s.flow_slug and st.step_slug = s.step_slug
      order by st.queue_name, given.place
    ) as ready
    group by ready.queue_name
    order by ready.queue_name
  loop
    execute format(
      $query$
        with message as (
          insert into pgmq.%1$I (vt, message)
          select
            clock_timestamp() + make_interval(secs => started.delay),
            jsonb_build_object(
              'flow_slug', started.flow_slug,
              'run_id', started.run_id,
              'step_slug', started.step_slug,
              'task_index', task_index
            )
          from unnest($1, $2, $3, $4, $5) with ordinality
            as started (flow_slug, run_id, step_slug, size, delay, place)
          cross join lateral generate_series(0, started.size - 1) as task_index
          order by started.place, task_index
          returning msg_id, message
        )
        insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, message_id, queue_name)
        select
          m.message ->> 'flow_slug', (m.message ->> 'run_id')::uuid, m.message ->> 'step_slug',
          (m.message ->> 'task_index')::int, m.msg_id, $6
        from message as m
      $query$,
      pgmq.format_table_name(batch.queue_name, 'q')
    ) using batch.flow_slugs, batch.run_ids, batch.step_slugs, batch.sizes, batch.delays, batch.queue_name;
    if batch.visible then
      awake := awake || batch.queue_name;
    end if;
  end loop;

  perform pgflow_mp._notify('pgflow_mp_work', awake);
end;
$$;
