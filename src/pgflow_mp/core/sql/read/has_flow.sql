-- Is there a flow of exactly this slug?
-- Runs with the owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.has_flow(flow_slug text)
returns boolean
language sql
stable
security definer
set search_path = ''
as $$
  select exists (select from pgflow.flows as f where f.flow_slug = has_flow.flow_slug);
$$;
