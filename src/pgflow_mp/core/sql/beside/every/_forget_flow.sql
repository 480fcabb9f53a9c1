-- Deletes what we know of a flow that is being deleted, its runs included: what foreign keys do where schema pgflow is
-- ours. Its retention stays, as there.
create or replace function pgflow_mp._forget_flow(flow_slug text)
returns void
language sql
set search_path = ''
as $$
  select pgflow_mp._forget_runs(array(
    select r.run_id from pgflow.runs as r where r.flow_slug = _forget_flow.flow_slug
  ));
  delete from pgflow_mp.schedules as ours where ours.flow_slug = _forget_flow.flow_slug;
  delete from pgflow_mp.paused_flows as ours where ours.flow_slug = _forget_flow.flow_slug;
  delete from pgflow_mp.dynamic_flows as ours where ours.flow_slug = _forget_flow.flow_slug;
  delete from pgflow_mp.flow_types as ours where ours.flow_slug = _forget_flow.flow_slug;
$$;
