-- Deletes one batch of what ended longer ago than `keep`, of all flows (NULL) or of those named; see _prune_flows. Call it
-- until `more` is false, each call a transaction of its own, and nothing waits for long.
create or replace function pgflow_mp.prune(
  keep interval, flow_slugs text[] default null, batch_size int default 1000,
  out runs bigint, out states bigint, out tasks bigint, out archived bigint, out more boolean
)
language sql
set search_path = ''
as $$
  select p.*
  from (
    select array_agg(f.flow_slug) as slugs, array_agg(prune.keep) as keeps
    from pgflow.flows as f
    where prune.flow_slugs is null or f.flow_slug = any (prune.flow_slugs)
  ) as wanted
  cross join lateral pgflow_mp._prune_flows(wanted.slugs, wanted.keeps, prune.batch_size) as p;
$$;
