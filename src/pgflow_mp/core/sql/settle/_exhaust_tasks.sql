-- Fails running tasks for good: no attempts left, or nobody wants another one (_retry_tasks was asked first).
-- Their steps fail their runs or are skipped, by when_exhausted. One task a run at a time, since each may end
-- what the next one belongs to; a task that is not running any more is left out. Returns the places done.
-- Rules: core FT-5 to FT-10, FT-12. The caller holds the locks of the runs.
create or replace function pgflow_mp._exhaust_tasks(
  run_ids uuid[], step_slugs text[], task_indexes int[], attempts int[], worker_ids uuid[], errors text[],
  waves int[], strict boolean
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
  live_flows text[];
  places int[] := '{}';
  turn_places int[];
  queue_names text[];
  message_ids bigint[];
  failing_runs uuid[];
  failing_steps text[];
  failing_errors text[];
  skipped_runs uuid[];
  skipped_steps text[];
  skipped_errors text[];
begin
  loop
    live_flows := pgflow_mp._live_flows(run_ids, step_slugs);
    with turn as (
      select distinct on (given.run_id)
        given.place, given.run_id, given.step_slug, own.tid, given.error, st.when_exhausted
      from unnest(
        _exhaust_tasks.run_ids, _exhaust_tasks.step_slugs, _exhaust_tasks.task_indexes, _exhaust_tasks.attempts,
        _exhaust_tasks.worker_ids, _exhaust_tasks.errors, _exhaust_tasks.waves, live_flows
      ) with ordinality as given (run_id, step_slug, task_index, attempt, worker_id, error, wave, flow_slug, place)
      join pgflow.steps as st on st.flow_slug = given.flow_slug and st.step_slug = given.step_slug
      cross join lateral (
        select t.ctid as tid
        from pgflow.step_tasks as t
        where t.run_id = given.run_id
          and t.step_slug = given.step_slug
          and t.task_index = given.task_index
          and t.status = 'started'
          and (given.attempt is null or t.attempts_count = given.attempt)
          and (given.worker_id is null or t.last_worker_id = given.worker_id)
        offset 0
      ) as own
      where given.wave < 0
      order by given.run_id, given.place
    ),
    failed as (
      update pgflow.step_tasks as t
      set status = 'failed',
          failed_at = greatest(now(), t.started_at),
          error_message = turn.error
      from turn
      where t.ctid = turn.tid
        and t.status || '' = 'started'
      returning turn.*, t.queue_name, t.message_id
    )
    select
      array_agg(place), array_agg(queue_name), array_agg(message_id),
      array_agg(run_id order by place) filter (where when_exhausted = 'fail'),
      array_agg(step_slug order by place) filter (where when_exhausted = 'fail'),
      array_agg(error order by place) filter (where when_exhausted = 'fail'),
      array_agg(run_id order by place) filter (where when_exhausted <> 'fail'),
      array_agg(step_slug order by place) filter (where when_exhausted <> 'fail'),
      array_agg(error order by place) filter (where when_exhausted <> 'fail')
    into
      turn_places, queue_names, message_ids, failing_runs, failing_steps, failing_errors,
      skipped_runs, skipped_steps, skipped_errors
    from failed;
    exit when turn_places is null;

    places := places || turn_places;
    if failing_runs is not null then
      perform pgflow_mp._fail_runs(failing_runs, failing_steps, failing_errors);
    end if;
    if skipped_runs is not null then
      perform pgflow_mp._skip_exhausted_steps(skipped_runs, skipped_steps, skipped_errors, strict);
    end if;
    perform pgflow_mp._archive_messages(queue_names, message_ids);
  end loop;
  return places;
end;
$$;
