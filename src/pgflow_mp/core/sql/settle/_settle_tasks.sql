-- Applies the outcomes of many tasks, of any runs: the state machine behind complete_task, fail_task and
-- settle_tasks. errors[i] not NULL: task i failed (retryable[i] false: for good), else it completed with
-- outputs[i]. attempts[i] and worker_ids[i] say whose attempt it was (D-5); NULL (or a NULL array) stands for
-- whichever is running.
--
-- The effect is that of applying the outcomes one at a time in some order: completions, then completions of the
-- wrong type, then failures. A second outcome for one task finds it settled. All runs are locked first, in run_id
-- order (D-2).
-- retry_delays[i]: seconds until the next attempt, instead of what the step's base delay gives.
-- strict: a cascade over its round limit raises, else it fails its run (D-6).
--
-- Returns one row for each given task, in order. applied is true when this call had an effect for it, or when the
-- same worker and attempt had settled it so before: a caller that lost the answer may ask again (D-5).
create or replace function pgflow_mp._settle_tasks(
  run_ids uuid[], step_slugs text[], task_indexes int[], attempts int[], worker_ids uuid[],
  outputs jsonb[], errors text[], retryable boolean[], strict boolean, retry_delays double precision[] default null
)
returns table (
  run_id uuid, step_slug text, task_index int, applied boolean, task_status text, step_status text, run_status text
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
  given_count int := coalesce(cardinality(run_ids), 0);
  waves int[];
  wave int;
  done int[] := '{}';
  is_done boolean[];
  place int;
begin
  if given_count = 0 then
    return;
  end if;

  perform from pgflow.runs as r
  where r.run_id = any(_settle_tasks.run_ids)
  order by r.run_id
  for update;

  waves := pgflow_mp._settlement_waves(run_ids, step_slugs, task_indexes, attempts, worker_ids, errors);
  for wave in select distinct w from unnest(waves) as w where w > 0 order by w loop
    done := done || pgflow_mp._complete_tasks(
      run_ids, step_slugs, task_indexes, attempts, worker_ids, outputs, waves, wave, strict);
  end loop;
  if cardinality(done) < given_count then
    done := done || pgflow_mp._fail_type_violations(
      run_ids, step_slugs, task_indexes, attempts, worker_ids, outputs, waves);
    if -1 = any(waves) then
      done := done || pgflow_mp._retry_tasks(
        run_ids, step_slugs, task_indexes, attempts, worker_ids, errors, retryable, waves, retry_delays);
      done := done || pgflow_mp._exhaust_tasks(
        run_ids, step_slugs, task_indexes, attempts, worker_ids, errors, waves, strict);
    end if;
  end if;

  is_done := array_fill(false, array[given_count]);
  foreach place in array done loop
    is_done[place] := true;
  end loop;
  if cardinality(done) < given_count then
    perform pgflow_mp._archive_late_messages(run_ids, step_slugs, task_indexes, is_done);
  end if;

  return query
    select
      given.run_id, given.step_slug, given.task_index,
      given.is_done or (
        t.attempts_count = given.attempt
        and t.last_worker_id = given.worker_id
        and case
          when given.error is not null then
            t.error_message = given.error
            and (t.status = 'failed' or (t.status = 'queued' and given.retryable is not false))
          else
            t.status = 'completed' or (t.status = 'failed' and starts_with(t.error_message, '[TYPE_VIOLATION] '))
        end
      ) is true,
      t.status, s.status, r.status
    from unnest(
      _settle_tasks.run_ids, _settle_tasks.step_slugs, _settle_tasks.task_indexes, _settle_tasks.attempts,
      _settle_tasks.worker_ids, _settle_tasks.errors, _settle_tasks.retryable, is_done
    ) with ordinality as given (run_id, step_slug, task_index, attempt, worker_id, error, retryable, is_done, place)
    left join lateral (
      select own.*
      from pgflow.step_tasks as own
      where own.run_id = given.run_id
        and own.step_slug = given.step_slug
        and own.task_index = given.task_index
      offset 0
    ) as t on true
    left join lateral (
      select own.status
      from pgflow.step_states as own
      where own.run_id = t.run_id
        and own.step_slug = t.step_slug
      offset 0
    ) as s on true
    left join lateral (
      select own.status from pgflow.runs as own where own.run_id = t.run_id offset 0
    ) as r on true
    order by given.place;
end;
$$;
