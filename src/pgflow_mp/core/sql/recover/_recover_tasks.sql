-- Frees the tasks that nobody works on any more, so that nothing stays stuck (D-3); returns them.
--
-- Lost: the worker is one of ours and stopped, or has been silent for so long. Its task is queued again as if the
-- attempt had never begun. Stalled: any other task whose timeout is over by 30 seconds; that attempt stays
-- counted. Both happen three times at most to a task; after that the attempt has failed, and the step's policy
-- decides: a task that kills its workers ends, and so does its run. So do tasks that pgflow.requeue_stalled_tasks
-- gave up on.
-- Last, the oldest messages in the queues are looked through for leftovers whose task has ended.
--
-- One row for each task. One whose attempt has failed is named, and what became of it told as settle_tasks_observed
-- does (is_lost: its worker was); one that is queued again as it was has the status queued and nothing else.
--
-- One session at a time; the others return nothing at once. Failures first: they lock runs, which must come before any
-- task (D-2).
create or replace function pgflow_mp._recover_tasks(silent interval)
returns table (
  flow_slug text, run_id uuid, step_slug text, task_index int, attempt int, worker_id uuid, is_lost boolean,
  task_status text, delay double precision, error text, transitions jsonb
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
  gone record;
begin
  if not pg_try_advisory_xact_lock(hashtext('pgflow_mp.recover_tasks')) then
    return;
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
      array_agg(t.last_worker_id) as worker_ids, array_agg(t.is_lost) as are_lost,
      array_agg(
        case
          when t.is_lost then format('Worker lost %s times while running this task', t.requeued_count + 1)
          else format(E'Task timed out after %ss\nNo worker reported an outcome; it was started again %s times before.',
            t.timeout, t.requeued_count)
        end
      ) as errors
    from (
      select started.*, started.last_worker_id = any(pgflow_mp._gone_workers(_recover_tasks.silent)) as is_lost
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
      return query
        select
          r.flow_slug, s.run_id, s.step_slug, s.task_index,
          gone.attempts[s.place], gone.worker_ids[s.place], gone.are_lost[s.place] is true,
          s.task_status, s.delay, s.error, s.transitions
        from pgflow_mp.settle_tasks_observed(
          gone.run_ids, gone.step_slugs, gone.task_indexes, gone.attempts, null, null, gone.errors, null
        ) with ordinality as s (
          run_id, step_slug, task_index, applied, task_status, step_status, run_status, delay, error, transitions, place
        )
        join pgflow.runs as r on r.run_id = s.run_id
        where s.applied
        order by s.place;
    else
      return query
        select null, null::uuid, null, null::int, null::int, null::uuid, null::boolean,
          'queued', null::double precision, null, null::jsonb
        from pgflow_mp._requeue_tasks(
          gone.run_ids, gone.step_slugs, gone.task_indexes, gone.attempts,
          keep_attempt => gone.remedy = 'requeue stalled');
    end if;
  end loop;
  perform pgflow_mp._archive_leftovers();
end;
$$;
