-- Does what settle_tasks does, and tells more, for a worker whose plugins want to know:
--   delay         a task that is queued again: seconds until its next attempt, on the clock of this transaction
--   error         the error of a task that failed, or is queued again after a failure
--   transitions   with the first applied outcome of a run: the steps of the run that ended with it, in the order of
--                 the definition, and the run if it ended: {"steps": [{step, status, error, reason}], "run": {
--                 status, started_at, ended_at, error}}
--
-- Whose work a transition is, the rows know themselves: a step or run that ended was last written by the transaction
-- that ended it (nothing writes it later), and so was the task. So only one caller is told of it, and a caller that
-- lost the answer and asks again is told the same.
create or replace function pgflow_mp.settle_tasks_observed(
  run_ids uuid[], step_slugs text[], task_indexes int[], attempts int[], worker_ids uuid[],
  outputs jsonb[], errors text[], retryable boolean[], retry_delays double precision[] default null
)
returns table (
  run_id uuid, step_slug text, task_index int, applied boolean, task_status text, step_status text, run_status text,
  delay double precision, error text, transitions jsonb
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
  applied boolean[];
  task_statuses text[];
  step_statuses text[];
  run_statuses text[];
begin
  select
    array_agg(s.applied order by s.place), array_agg(s.task_status order by s.place),
    array_agg(s.step_status order by s.place), array_agg(s.run_status order by s.place)
  into applied, task_statuses, step_statuses, run_statuses
  from pgflow_mp.settle_tasks(
    run_ids, step_slugs, task_indexes, attempts, worker_ids, outputs, errors, retryable, retry_delays
  ) with ordinality as s (
    run_id, step_slug, task_index, applied, task_status, step_status, run_status, place
  );

  return query
    select
      given.run_id, given.step_slug, given.task_index,
      given.applied, given.task_status, given.step_status, given.run_status,
      case when given.task_status = 'queued' then pgflow_mp._message_delay(t.queue_name, t.message_id) end,
      case when given.task_status <> 'completed' then t.error_message end,
      case
        when given.applied and given.task_status <> 'queued'
          and 1 = row_number() over (
            partition by given.run_id, t.writer::text, given.applied, given.task_status <> 'queued'
            order by given.place)
        then pgflow_mp._transitions(given.run_id, t.writer)
      end
    from unnest(
      settle_tasks_observed.run_ids, settle_tasks_observed.step_slugs, settle_tasks_observed.task_indexes,
      applied, task_statuses, step_statuses, run_statuses
    ) with ordinality
      as given (run_id, step_slug, task_index, applied, task_status, step_status, run_status, place)
    left join lateral (
      select own.queue_name, own.message_id, own.error_message, own.xmin as writer
      from pgflow.step_tasks as own
      where own.run_id = given.run_id
        and own.step_slug = given.step_slug
        and own.task_index = given.task_index
      offset 0
    ) as t on true
    order by given.place;
end;
$$;
