-- For each given step of a run: its flow's slug while both are started, else NULL; in order.
create or replace function pgflow_mp._live_flows(run_ids uuid[], step_slugs text[])
returns text[]
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  return (
    select array_agg(live.flow_slug order by given.place)
    from unnest(_live_flows.run_ids, _live_flows.step_slugs) with ordinality as given (run_id, step_slug, place)
    left join lateral (
      select s.flow_slug
      from pgflow.step_states as s
      join pgflow.runs as r on r.run_id = s.run_id
      where s.run_id = given.run_id
        and s.step_slug = given.step_slug
        and s.status = 'started'
        and r.status = 'started'
      offset 0
    ) as live on true
  );
end;
$$;
