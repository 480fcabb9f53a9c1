-- Lets tasks that ended, or were given up, end once more, this time with all that follows from it: a completed task
-- with its output, any other as failed for good (given up: as an attempt that failed, so that the policy may allow
-- another). Everything goes through settle_tasks, so all rules hold. The caller holds the locks of the runs.
create or replace function pgflow_mp._settle_again(run_ids uuid[], step_slugs text[], task_indexes int[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  place int;
  task record;
begin
  for place in 1 .. cardinality(_settle_again.run_ids) loop
    select t.status, t.output, t.error_message, t.attempts_count, t.requeued_count
    into task
    from pgflow.step_tasks as t
    where t.run_id = _settle_again.run_ids[place]
      and t.step_slug = _settle_again.step_slugs[place]
      and t.task_index = _settle_again.task_indexes[place]
    for update;

    update pgflow.step_tasks as t
    set status = 'started',
        output = null,
        completed_at = null,
        failed_at = null
    where t.run_id = _settle_again.run_ids[place]
      and t.step_slug = _settle_again.step_slugs[place]
      and t.task_index = _settle_again.task_indexes[place];
    if task.status = 'completed' then
      update pgflow.step_states as s
      set remaining_tasks = 1
      where s.run_id = _settle_again.run_ids[place]
        and s.step_slug = _settle_again.step_slugs[place];
    end if;

    perform pgflow_mp.settle_tasks(
      _settle_again.run_ids[place:place], _settle_again.step_slugs[place:place],
      _settle_again.task_indexes[place:place], array[task.attempts_count], null,
      array[task.output],
      array[
        case task.status
          when 'failed' then coalesce(task.error_message, 'Task failed')
          when 'started' then format(
            'Task was given up: no worker reported an outcome, and it was started again %s times', task.requeued_count)
        end
      ],
      array[task.status <> 'failed']
    );
  end loop;
end;
$$;
