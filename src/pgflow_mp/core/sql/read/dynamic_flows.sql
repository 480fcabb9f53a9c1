-- What a worker of dynamic flows needs, in one round trip: the number of these flows, the sum of their revisions, and, if
-- these are not what the worker knows, the revision of each. Runs with the owner's rights (D-11).
create or replace function pgflow_mp.dynamic_flows(known_count bigint, known_sum numeric)
returns table (flows bigint, revisions numeric, flow_slug text, revision bigint)
language sql
stable
security definer
set search_path = ''
as $$
  with now as materialized (
    select count(*) as flows, coalesce(sum(d.revision), 0) as revisions from pgflow_mp.dynamic_flows as d
  )
  select now.flows, now.revisions, d.flow_slug, d.revision
  from now
  left join pgflow_mp.dynamic_flows as d
    on (now.flows, now.revisions) is distinct from (known_count, known_sum);
$$;
