-- Is there a flow of exactly this slug? Rule: generations 7.1.
create or replace function pgflow.flow_exists(p_flow_slug text)
returns boolean
language sql
stable
security definer
set search_path = ''
as $$
  select exists (select from pgflow.flows as f where f.flow_slug = p_flow_slug);
$$;
