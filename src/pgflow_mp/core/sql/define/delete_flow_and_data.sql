-- Deletes a flow, its runs and its queues, running or not. Workers stay. An unknown slug, or one in the wrong case,
-- deletes nothing.
-- Rules: core 6.5; generations QI-6 (queues are found by their listed spelling; two spellings: 42P09), SM-4 (which
-- queues). Rows are locked and deleted in the order of D-2, the queues at the end.
create or replace function pgflow.delete_flow_and_data(p_flow_slug text)
returns void
language plpgsql
set search_path = ''
as $$
declare
  queues text[];
begin
  perform pgflow_mp._lock_definition(p_flow_slug);
  perform from pgflow.runs as r where r.flow_slug = p_flow_slug order by r.run_id for update;
  -- Waits for runs that are just being started, and keeps new ones out.
  perform from pgflow.flows as f where f.flow_slug = p_flow_slug for update;
  if not found then
    return;
  end if;
  queues := array(
    select pgflow._listed_queue_name(q.queue_name)
    from pgflow_mp._flow_queues(p_flow_slug) as q
    where pgflow_mp._queue_is_listed(q.queue_name)
  );

  --beside: perform pgflow_mp._forget_flow(p_flow_slug);
  delete from pgflow.step_tasks as t using pgflow.runs as r
  where r.flow_slug = p_flow_slug and t.run_id = r.run_id;
  delete from pgflow.step_states as s using pgflow.runs as r
  where r.flow_slug = p_flow_slug and s.run_id = r.run_id;
  delete from pgflow.runs as r where r.flow_slug = p_flow_slug;
  delete from pgflow.deps as d where d.flow_slug = p_flow_slug;
  delete from pgflow.steps as s where s.flow_slug = p_flow_slug;
  delete from pgflow.flows as f where f.flow_slug = p_flow_slug;
  perform pgmq.drop_queue(q) from unnest(queues) as q;
end;
$$;
