-- Queues started tasks again, their messages visible at once; the workers are woken. keep_attempt says whether
-- the attempt stays counted. Only tasks still in the named attempt; one that another session holds is being
-- settled and left out.
-- Returns the queue of each task. Order of locks: task rows, then queue rows (D-2, core ST-2). Rules: core ST-3.
create or replace function pgflow_mp._requeue_tasks(
  run_ids uuid[], step_slugs text[], task_indexes int[], attempts int[], keep_attempt boolean
)
returns setof text
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
  with running as (
    select own.tid
    from unnest(
      _requeue_tasks.run_ids, _requeue_tasks.step_slugs, _requeue_tasks.task_indexes, _requeue_tasks.attempts
    ) as given (run_id, step_slug, task_index, attempt)
    cross join lateral (
      select t.ctid as tid
      from pgflow.step_tasks as t
      where t.run_id = given.run_id
        and t.step_slug = given.step_slug
        and t.task_index = given.task_index
        and t.status = 'started'
        and t.attempts_count = given.attempt
      for update skip locked
      offset 0
    ) as own
  ),
  requeued as (
    update pgflow.step_tasks as t
    set status = 'queued',
        attempts_count = t.attempts_count - case when _requeue_tasks.keep_attempt then 0 else 1 end,
        started_at = null,
        last_worker_id = null,
        requeued_count = t.requeued_count + 1,
        last_requeued_at = now()
    from running
    where t.ctid = running.tid
    returning t.queue_name, t.message_id
  )
  select array_agg(requeued.queue_name), array_agg(requeued.message_id)
  into queue_names, message_ids
  from requeued;

  if queue_names is not null then
    perform pgflow_mp._reschedule_tasks(
      queue_names, message_ids, array_fill(0.0::double precision, array[cardinality(message_ids)]));
  end if;
  return query select unnest(queue_names);
end;
$$;
