-- The runs of some flows that have queued tasks, and in how many seconds the first of them may start: 0 or less means now.
create or replace function pgflow_mp.waiting_runs(flow_slugs text[])
returns table (run_id uuid, flow_slug text, seconds double precision)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  queue text;
begin
  for queue in
    select distinct s.queue_name from pgflow.steps as s where s.flow_slug = any(waiting_runs.flow_slugs) order by 1
  loop
    return query execute format(
      $query$
        select t.run_id, t.flow_slug, min(extract(epoch from q.vt - clock_timestamp()))::double precision
        from pgmq.%I as q
        join pgflow.step_tasks as t on t.queue_name = $1 and t.message_id = q.msg_id
        where t.status = 'queued'
          and t.flow_slug = any($2)
        group by t.run_id, t.flow_slug
      $query$,
      pgmq.format_table_name(queue, 'q')
    ) using queue, waiting_runs.flow_slugs;
  end loop;
end;
$$;
