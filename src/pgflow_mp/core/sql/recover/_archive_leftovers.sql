-- Archives messages that no task will ever take up: their task is gone or has ended, or its step or run has.
-- Looks at the oldest 1,000 visible messages of each queue, where they gather and where claims have to pass over
-- them, and goes on while there is nothing else.
create or replace function pgflow_mp._archive_leftovers()
returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  queue text;
  leftovers bigint[];
begin
  for queue in select * from pgflow_mp._task_queues() loop
    loop
      execute format(
        $query$
          select array_agg(head.msg_id)
          from (
            select q.msg_id from pgmq.%1$I as q where q.vt <= clock_timestamp() order by q.msg_id limit 1000
          ) as head
          where not exists (
            select
            from pgflow.step_tasks as t
            join pgflow.runs as r on r.run_id = t.run_id and r.status = 'started'
            join pgflow.step_states as s
              on s.run_id = t.run_id and s.step_slug = t.step_slug and s.status = 'started'
            where t.queue_name = $1
              and t.message_id = head.msg_id
              and t.status in ('queued', 'started')
            offset 0  -- a lookup for each message: as a join it may read all runs there ever were
          )
        $query$,
        pgmq.format_table_name(queue, 'q')
      ) into leftovers using queue;
      exit when leftovers is null;
      perform pgmq.archive(queue, leftovers);
      exit when cardinality(leftovers) < 1000;
    end loop;
  end loop;
end;
$$;
