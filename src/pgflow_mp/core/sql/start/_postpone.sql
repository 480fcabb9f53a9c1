-- Lets the tasks that runs have begin at this time, by the real clock, and their steps' start delays after it. For runs
-- of this transaction: nobody else sees them or their messages yet, so nothing is locked in order.
create or replace function pgflow_mp._postpone(run_ids uuid[], due timestamptz)
returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  batch record;
begin
  for batch in
    select task.queue_name, coalesce(st.opt_start_delay, 0) as delay, array_agg(task.message_id) as message_ids
    from unnest(_postpone.run_ids) as given (run_id)
    cross join lateral (
      select t.queue_name, t.message_id, t.flow_slug, t.step_slug
      from pgflow.step_tasks as t
      where t.run_id = given.run_id
      offset 0
    ) as task
    join pgflow.steps as st on st.flow_slug = task.flow_slug and st.step_slug = task.step_slug
    group by 1, 2
  loop
    execute format(
      'update pgmq.%I as q set vt = $1 + make_interval(secs => $2) where q.msg_id = any($3)',
      pgmq.format_table_name(batch.queue_name, 'q')
    ) using _postpone.due, batch.delay, batch.message_ids;
  end loop;
end;
$$;
