-- Deletes runs with their steps, tasks and messages, and counts them. The caller holds the locks of the runs; all of
-- them have ended.
create or replace function pgflow_mp._delete_runs(run_ids uuid[], out runs bigint, out states bigint, out tasks bigint)
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  messages record;
begin
  --beside: perform pgflow_mp._forget_runs(run_ids);
  tasks := 0;
  for messages in
    with deleted as (
      delete from pgflow.step_tasks as t where t.run_id = any (run_ids) returning t.queue_name, t.message_id
    )
    select d.queue_name, array_agg(d.message_id) filter (where d.message_id is not null) as ids, count(*) as tasks
    from deleted as d
    group by d.queue_name
    order by d.queue_name
  loop
    tasks := tasks + messages.tasks;
    if pgflow_mp._queue_is_listed(messages.queue_name) then
      perform pgmq.delete(messages.queue_name, messages.ids);
    end if;
  end loop;
  delete from pgflow.step_states as s where s.run_id = any (run_ids);
  get diagnostics states = row_count;
  delete from pgflow.runs as r where r.run_id = any (run_ids);
  get diagnostics runs = row_count;
end;
$$;
