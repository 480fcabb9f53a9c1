-- Queues failed tasks again that have attempts left: visible after base delay x 2^attempts seconds, capped at a
-- day (D-7), or after retry_delays[i] where that is not NULL; returns the places done. waves[i] < 0 marks the
-- failures; retryable[i] false means that nobody wants another attempt.
-- Rules: core FT-4, FT-5, FT-6 (attempts_count counts starts), FT-11. The caller holds the locks of the runs.
create or replace function pgflow_mp._retry_tasks(
  run_ids uuid[], step_slugs text[], task_indexes int[], attempts int[], worker_ids uuid[], errors text[],
  retryable boolean[], waves int[], retry_delays double precision[]
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
  retried_runs uuid[];
  retried_steps text[];
  queue_names text[];
  message_ids bigint[];
  delays double precision[];
begin
  with retried as (
    update pgflow.step_tasks as t
    set status = 'queued',
        started_at = null,
        failed_at = null,
        error_message = given.error,
        permanently_stalled_at = null
    from unnest(
      _retry_tasks.run_ids, _retry_tasks.step_slugs, _retry_tasks.task_indexes, _retry_tasks.attempts,
      _retry_tasks.worker_ids, _retry_tasks.errors, _retry_tasks.retryable, _retry_tasks.waves, live_flows,
      _retry_tasks.retry_delays
    ) with ordinality
      as given (run_id, step_slug, task_index, attempt, worker_id, error, retryable, wave, flow_slug, delay, place)
    cross join lateral (
      select t.ctid as tid
      from pgflow.step_tasks as t
      where t.run_id = given.run_id
        and t.step_slug = given.step_slug
        and t.task_index = given.task_index
      offset 0
    ) as own
    join pgflow.steps as st on st.flow_slug = given.flow_slug and st.step_slug = given.step_slug
    join pgflow.flows as f on f.flow_slug = given.flow_slug
    where given.wave < 0
      and given.retryable is not false
      and t.ctid = own.tid
      and t.status || '' = 'started'
      and (given.attempt is null or t.attempts_count = given.attempt)
      and (given.worker_id is null or t.last_worker_id = given.worker_id)
      and t.attempts_count < coalesce(st.opt_max_attempts, f.opt_max_attempts)
    returning
      given.place, t.run_id, t.step_slug, t.queue_name, t.message_id,
      coalesce(
        given.delay, pgflow_mp._retry_delay(coalesce(st.opt_base_delay, f.opt_base_delay), t.attempts_count)
      ) as delay
  )
  select
    array_agg(retried.place), array_agg(retried.run_id), array_agg(retried.step_slug),
    array_agg(retried.queue_name), array_agg(retried.message_id), array_agg(retried.delay)
  into places, retried_runs, retried_steps, queue_names, message_ids, delays
  from retried;
  if places is null then
    return '{}';
  end if;

  update pgflow.step_states as s
  set error_message = null,
      failed_at = null
  from unnest(retried_runs, retried_steps) as given (run_id, step_slug)
  cross join lateral (
    select own_state.ctid as tid
    from pgflow.step_states as own_state
    where own_state.run_id = given.run_id
      and own_state.step_slug = given.step_slug
      and (own_state.error_message is not null or own_state.failed_at is not null)
    offset 0
  ) as own
  where s.ctid = own.tid;

  perform pgflow_mp._reschedule_tasks(queue_names, message_ids, delays);
  return places;
end;
$$;
