-- The flows that are paused, and since when.
-- Runs with the owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.paused_flows()
returns table (flow_slug text, paused_at timestamptz)
language sql
stable
security definer
set search_path = ''
as $$
  select p.flow_slug, p.paused_at from pgflow_mp.paused_flows as p order by p.flow_slug collate "C";
$$;
