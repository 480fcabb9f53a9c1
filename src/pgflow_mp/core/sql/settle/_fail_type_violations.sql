-- Completions whose output should size a map step and is no array: each fails its task, its step and its run,
-- whatever when_exhausted or the attempts left say (core CT-4, generations CT-4'). Returns the places done. A
-- caller that names no attempt fails the task even when it is not running; one that does, only in that attempt.
-- Events: run:failed (without error_message), then step:failed. The caller holds the locks of the runs.
create or replace function pgflow_mp._fail_type_violations(
  run_ids uuid[], step_slugs text[], task_indexes int[], attempts int[], worker_ids uuid[], outputs jsonb[], waves int[]
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
  violation record;
  places int[] := '{}';
begin
  for violation in
    -- The first of each run: it ends the run.
    select distinct on (t.run_id)
      given.place, t.run_id, t.step_slug, t.task_index, t.queue_name, t.message_id, given.output,
      coalesce(jsonb_typeof(given.output), 'null') as produced,
      pgflow_mp._child_awaiting_array(given.run_id, given.flow_slug, given.step_slug) as child_slug
    from unnest(
      _fail_type_violations.run_ids, _fail_type_violations.step_slugs, _fail_type_violations.task_indexes,
      _fail_type_violations.attempts, _fail_type_violations.worker_ids, _fail_type_violations.outputs,
      _fail_type_violations.waves, live_flows
    ) with ordinality as given (run_id, step_slug, task_index, attempt, worker_id, output, wave, flow_slug, place)
    cross join lateral (
      select own.*
      from pgflow.step_tasks as own
      where own.run_id = given.run_id
        and own.step_slug = given.step_slug
        and own.task_index = given.task_index
      offset 0
    ) as t
    where given.wave > 0
      and given.flow_slug is not null
      and jsonb_typeof(given.output) is distinct from 'array'
      and (
        (given.attempt is null and given.worker_id is null)
        or (
          t.status = 'started'
          and (given.attempt is null or t.attempts_count = given.attempt)
          and (given.worker_id is null or t.last_worker_id = given.worker_id)
        )
      )
      and pgflow_mp._child_awaiting_array(given.run_id, given.flow_slug, given.step_slug) is not null
    order by t.run_id, given.place
  loop
    update pgflow.step_tasks as t
    set status = 'failed',
        completed_at = null,
        failed_at = greatest(now(), t.queued_at, t.started_at),
        output = violation.output,
        error_message = '[TYPE_VIOLATION] Produced ' || violation.produced || ' instead of array'
    where t.run_id = violation.run_id
      and t.step_slug = violation.step_slug
      and t.task_index = violation.task_index;

    update pgflow.runs as r
    set status = 'failed',
        failed_at = greatest(now(), r.started_at)
    where r.run_id = violation.run_id;

    update pgflow.step_states as s
    set status = 'failed',
        failed_at = greatest(now(), s.started_at),
        error_message = '[TYPE_VIOLATION] Map step ' || violation.child_slug || ' expects array input but dependency '
          || violation.step_slug || ' produced ' || violation.produced
    where s.run_id = violation.run_id
      and s.step_slug = violation.step_slug;

    if pgflow_mp._events_wanted() then
      perform pgflow_mp._send_run_events('run:failed', array[violation.run_id]);
      perform pgflow_mp._send_step_events('failed', array[violation.run_id], array[violation.step_slug]);
    end if;
    perform pgflow_mp._end_open_tasks('cancelled', array[violation.run_id]);
    perform pgflow_mp._archive_messages(array[violation.queue_name], array[violation.message_id]);
    perform pgflow_mp._notify('pgflow_mp_runs', array[violation.run_id::text]);
    places := places || violation.place::int;
  end loop;
  return places;
end;
$$;
