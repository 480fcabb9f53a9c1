-- The started tasks of live steps of live runs. They are found through the queues, which hold the messages of
-- unfinished tasks only: no index on a task's status is needed, and finished history costs nothing.
-- thorough: look at every message. Otherwise only at those that somebody has read and that are either hidden or
-- among the oldest 10,000 visible ones, which is where claimed messages are; a long backlog is not looked through
-- then.
create or replace function pgflow_mp._started_tasks(thorough boolean)
returns table (
  queue_name text, message_id bigint, run_id uuid, step_slug text, task_index int, attempts_count int,
  last_worker_id uuid, started_at timestamptz, requeued_count int, permanently_stalled_at timestamptz, timeout int
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
  queue text;
  messages text;
begin
  for queue in select * from pgflow_mp._task_queues() loop
    messages := case
      when thorough then 'select q.msg_id from pgmq.%1$I as q'
      else $query$
        select q.msg_id from pgmq.%1$I as q where q.vt > clock_timestamp() and q.read_ct > 0
        union all
        select head.msg_id
        from (
          select q.msg_id, q.read_ct from pgmq.%1$I as q where q.vt <= clock_timestamp() order by q.msg_id limit 10000
        ) as head
        where head.read_ct > 0
      $query$
    end;
    return query execute format(
      $query$
        select
          t.queue_name, t.message_id, t.run_id, t.step_slug, t.task_index, t.attempts_count,
          t.last_worker_id, t.started_at, t.requeued_count, t.permanently_stalled_at,
          coalesce(st.opt_timeout, f.opt_timeout)
        from ($query$ || messages || $query$) as message
        cross join lateral (
          select own.*
          from pgflow.step_tasks as own
          where own.queue_name = $1
            and own.message_id = message.msg_id
            and own.status = 'started'
          offset 0
        ) as t
        cross join lateral (
          select from pgflow.runs as r where r.run_id = t.run_id and r.status = 'started' offset 0
        ) as live_run
        cross join lateral (
          select
          from pgflow.step_states as s
          where s.run_id = t.run_id
            and s.step_slug = t.step_slug
            and s.status = 'started'
          offset 0
        ) as live_step
        join pgflow.steps as st on st.flow_slug = t.flow_slug and st.step_slug = t.step_slug
        join pgflow.flows as f on f.flow_slug = t.flow_slug
      $query$,
      pgmq.format_table_name(queue, 'q')
    ) using queue;
  end loop;
end;
$$;
