-- Dynamic flows as they are stored (flow_details), each with `dynamic`, what its steps are done by. One that is gone is left
-- out. Runs with the owner's rights (D-11).
create or replace function pgflow_mp.dynamic_details(flow_slugs text[])
returns setof jsonb
language sql
stable
security definer
set search_path = ''
as $$
  select f || jsonb_build_object('dynamic', d.steps)
  from pgflow_mp.flow_details(flow_slugs) as f
  join pgflow_mp.dynamic_flows as d on d.flow_slug = f ->> 'flow_slug';
$$;
