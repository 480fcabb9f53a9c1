-- Pauses a flow, or resumes it; returns whether there is one. While it is paused our workers claim none of its tasks and
-- its schedules do not tick; what runs goes on, and runs can be started. Workers of other languages do not know of it
-- (D-20). Resuming wakes the workers; what the schedules missed is not caught up.
create or replace function pgflow_mp.pause_flow(flow_slug text, paused boolean default true)
returns boolean
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
begin
  perform from pgflow.flows as f where f.flow_slug = pause_flow.flow_slug for key share;
  if not found then
    return false;
  end if;
  if paused then
    insert into pgflow_mp.paused_flows (flow_slug)
    values (pause_flow.flow_slug)
    on conflict on constraint paused_flows_pkey do nothing;
    return true;
  end if;
  delete from pgflow_mp.paused_flows as p where p.flow_slug = pause_flow.flow_slug;
  if found then
    update pgflow_mp.schedules as s
    set considered_at = pgflow_mp._clock(),
        next_at = null
    where s.flow_slug = pause_flow.flow_slug;
    perform pgflow_mp._notify(
      'pgflow_mp_work', array(select q.queue_name from pgflow_mp._flow_queues(pause_flow.flow_slug) as q));
  end if;
  return true;
end;
$$;
