-- Tasks of live steps that wait for a worker and whose message is in no queue: nobody can ever claim them. A
-- running task without its message is none while its attempt may still report; when its timeout has passed by
-- 30 s (as RQ-1 counts) nothing would ever bring it back, since recovery looks through the queues.
create or replace function pgflow_mp._tasks_without_message(only_runs uuid[])
returns table (flow_slug text, run_id uuid, step_slug text, task_index int, queue_name text)
language plpgsql
stable
set search_path = ''
as $$
#variable_conflict use_column
declare
  queue text;
  present text;
begin
  for queue in
    select distinct t.queue_name
    from pgflow.step_tasks as t
    where t.status in ('queued', 'started')
      and (_tasks_without_message.only_runs is null or t.run_id = any(_tasks_without_message.only_runs))
  loop
    present := format('pgmq.%I', pgmq.format_table_name(queue, 'q'));
    return query execute format(
      $query$
        select t.flow_slug, t.run_id, t.step_slug, t.task_index, t.queue_name
        from pgflow.step_tasks as t
        join pgflow.runs as r on r.run_id = t.run_id and r.status = 'started'
        join pgflow.step_states as s on s.run_id = t.run_id and s.step_slug = t.step_slug and s.status = 'started'
        join pgflow.steps as st on st.flow_slug = t.flow_slug and st.step_slug = t.step_slug
        join pgflow.flows as f on f.flow_slug = t.flow_slug
        where t.queue_name = $1
          and ($2 is null or t.run_id = any($2))
          and t.permanently_stalled_at is null
          and (
            t.status = 'queued'
            or (
              t.status = 'started'
              and t.started_at < now() - make_interval(secs => coalesce(st.opt_timeout, f.opt_timeout) + 30)
            )
          )
          and not exists (%s)
      $query$,
      case
        when to_regclass(present) is null then 'select where false'
        else format('select from %s as q where q.msg_id = t.message_id', present)
      end
    ) using queue, _tasks_without_message.only_runs;
  end loop;
end;
$$;
