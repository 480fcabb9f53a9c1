-- Frees the tasks that nobody works on any more, so that nothing stays stuck (D-3); returns how many can run
-- again.
--
-- Lost: the worker is one of ours and stopped, or has been silent for so long. Its task is queued again as if the
-- attempt had never begun. Stalled: any other task whose timeout is over by 30 seconds; that attempt stays
-- counted. Both happen three times at most to a task; after that the attempt has failed, and the step's policy
-- decides: a task that kills its workers ends, and so does its run. So do tasks that pgflow.requeue_stalled_tasks
-- gave up on.
-- Last, the oldest messages in the queues are looked through for leftovers whose task has ended.
--
-- One session at a time; the others return 0 at once. Failures first: they lock runs, which must come before any
-- task (D-2).
create or replace function pgflow_mp.recover_tasks(silent interval default '15 seconds')
returns int
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  gone record;
  freed int := 0;
begin
  if not pg_try_advisory_xact_lock(hashtext('pgflow_mp.recover_tasks')) then
    return 0;
  end if;

  for gone in
    select
      case
        when t.requeued_count >= 3 or t.permanently_stalled_at is not null then 'end'
        when t.is_lost then 'requeue lost'
        else 'requeue stalled'
      end as remedy,
      array_agg(t.run_id) as run_ids, array_agg(t.step_slug) as step_slugs,
      array_agg(t.task_index) as task_indexes, array_agg(t.attempts_count) as attempts,
      array_agg(
        case
          when t.is_lost then format('Worker lost %s times while running this task', t.requeued_count + 1)
          else format(E'Task timed out after %ss\nNo worker reported an outcome; it was started again %s times before.',
            t.timeout, t.requeued_count)
        end
      ) as errors
    from (
      select started.*, started.last_worker_id = any(pgflow_mp._gone_workers(recover_tasks.silent)) as is_lost
      from (
        select * from pgflow_mp._started_tasks(thorough => false)
        union
        select * from pgflow_mp._given_up_tasks()
      ) as started
    ) as t
    where t.is_lost
      or t.permanently_stalled_at is not null
      or t.started_at < now() - make_interval(secs => t.timeout + 30)
    group by 1
    order by 1
  loop
    if gone.remedy = 'end' then
      freed := freed + (
        select count(*)
        from pgflow_mp.settle_tasks(
          gone.run_ids, gone.step_slugs, gone.task_indexes, gone.attempts, null, null, gone.errors, null) as s
        where s.applied and s.task_status = 'queued'
      );
    else
      freed := freed + (
        select count(*)
        from pgflow_mp._requeue_tasks(
          gone.run_ids, gone.step_slugs, gone.task_indexes, gone.attempts,
          keep_attempt => gone.remedy = 'requeue stalled')
      );
    end if;
  end loop;
  perform pgflow_mp._archive_leftovers();
  return freed;
end;
$$;
