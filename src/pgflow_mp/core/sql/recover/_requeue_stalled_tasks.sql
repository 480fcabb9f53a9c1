-- The contract's recovery: tasks started longer ago than their timeout and margin seconds more are queued again,
-- three times at most; after that they are marked permanently stalled and their messages archived. One row for
-- each task requeued, naming its queue.
-- Rules: core 5.2 with appendix A-3, generations 2.7; the archive happens even when nothing was requeued (D-3).
create or replace function pgflow_mp._requeue_stalled_tasks(margin double precision)
returns setof text
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  stalled record;
  queue_names text[];
  message_ids bigint[];
begin
  for stalled in
    select
      t.requeued_count >= 3 as for_good,
      array_agg(t.run_id) as run_ids, array_agg(t.step_slug) as step_slugs,
      array_agg(t.task_index) as task_indexes, array_agg(t.attempts_count) as attempts
    from pgflow_mp._started_tasks(thorough => true) as t
    where t.permanently_stalled_at is null
      and t.started_at < now() - make_interval(secs => t.timeout + _requeue_stalled_tasks.margin)
    group by t.requeued_count >= 3
  loop
    if not stalled.for_good then
      return query select * from pgflow_mp._requeue_tasks(
        stalled.run_ids, stalled.step_slugs, stalled.task_indexes, stalled.attempts, keep_attempt => true);
      continue;
    end if;

    with hopeless as (
      select own.tid
      from unnest(stalled.run_ids, stalled.step_slugs, stalled.task_indexes, stalled.attempts)
        as given (run_id, step_slug, task_index, attempt)
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
    marked as (
      update pgflow.step_tasks as t
      set permanently_stalled_at = now()
      from hopeless
      where t.ctid = hopeless.tid
      returning t.queue_name, t.message_id
    )
    select array_agg(marked.queue_name), array_agg(marked.message_id)
    into queue_names, message_ids
    from marked;
    perform pgflow_mp._archive_messages(queue_names, message_ids);
  end loop;
end;
$$;
