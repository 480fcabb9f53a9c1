-- Messages in the queues of our flows that belong to no open task: nobody will ever take them up.
create or replace function pgflow_mp._messages_without_task()
returns table (queue_name text, message_id bigint)
language plpgsql
stable
set search_path = ''
as $$
#variable_conflict use_column
declare
  queue text;
begin
  for queue in select * from pgflow_mp._task_queues() loop
    return query execute format(
      $query$
        select $1, q.msg_id
        from pgmq.%I as q
        where not exists (
          select
          from pgflow.step_tasks as t
          where t.queue_name = $1
            and t.message_id = q.msg_id
            and t.status in ('queued', 'started')
        )
      $query$,
      pgmq.format_table_name(queue, 'q')
    ) using queue;
  end loop;
end;
$$;
