-- Marks a flow as a job in a table of ours, since the core's has no place for that.
create or replace function pgflow_mp._mark_job(flow_slug text)
returns void
language sql
set search_path = ''
as $$
  insert into pgflow_mp.flow_types (flow_slug, flow_type)
  select _mark_job.flow_slug, 'job'
  where not exists (
    select from pgflow_mp.flow_types as kept where kept.flow_slug = _mark_job.flow_slug
  )
  on conflict on constraint flow_types_pkey do nothing;
$$;
