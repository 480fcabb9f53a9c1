-- Puts running tasks back as if these attempts had never begun: queued, one attempt less, visible delay seconds
-- from now (D-4). Only tasks that are running in the named attempt for the named worker; returns how many were
-- given back.
-- Locks the runs first, in run_id order (D-2), so that it cannot meet a settling session crosswise.
create or replace function pgflow_mp.give_back_tasks(
  run_ids uuid[], step_slugs text[], task_indexes int[], attempts int[], worker_ids uuid[], delay int default 0
)
returns int
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  queue_names text[];
  message_ids bigint[];
begin
  perform from pgflow.runs as r
  where r.run_id = any(give_back_tasks.run_ids)
  order by r.run_id
  for update;

  with given_back as (
    update pgflow.step_tasks as t
    set status = 'queued',
        attempts_count = t.attempts_count - 1,
        started_at = null,
        last_worker_id = null,
        permanently_stalled_at = null
    from unnest(
      give_back_tasks.run_ids, give_back_tasks.step_slugs, give_back_tasks.task_indexes, give_back_tasks.attempts,
      give_back_tasks.worker_ids
    ) as given (run_id, step_slug, task_index, attempt, worker_id)
    cross join lateral (
      select t.ctid as tid
      from pgflow.step_tasks as t
      where t.run_id = given.run_id
        and t.step_slug = given.step_slug
        and t.task_index = given.task_index
      offset 0
    ) as own
    where t.ctid = own.tid
      and t.status || '' = 'started'
      and t.attempts_count = given.attempt
      and t.last_worker_id = given.worker_id
    returning t.queue_name, t.message_id
  )
  select array_agg(given_back.queue_name), array_agg(given_back.message_id)
  into queue_names, message_ids
  from given_back;
  if message_ids is null then
    return 0;
  end if;

  perform pgflow_mp._reschedule_tasks(
    queue_names, message_ids, array_fill(delay::double precision, array[cardinality(message_ids)]));
  return cardinality(message_ids);
end;
$$;
