-- Deletes a flow with its data and makes it from another shape; what the operator has said of it, its pause and the
-- schedules that he made, stays.
create or replace function pgflow_mp._make_anew(flow_slug text, shape jsonb, queue_mode text)
returns void
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  schedules pgflow_mp.schedules[];
  pauses pgflow_mp.paused_flows[];
begin
  schedules := array(select s from pgflow_mp.schedules as s where s.flow_slug = _make_anew.flow_slug);
  pauses := array(select p from pgflow_mp.paused_flows as p where p.flow_slug = _make_anew.flow_slug);
  perform pgflow.delete_flow_and_data(_make_anew.flow_slug);
  perform pgflow._create_flow_from_shape(_make_anew.flow_slug, shape, _make_anew.queue_mode);
  insert into pgflow_mp.schedules select (s).* from unnest(schedules) as s;
  insert into pgflow_mp.paused_flows select (p).* from unnest(pauses) as p;
end;
$$;
