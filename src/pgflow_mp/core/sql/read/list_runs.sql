-- Runs that meet all of the given conditions, the latest first, at most how_many, as JSON (see _run_as_json); NULL is no
-- condition. The next page is asked for with the time and the id of the last run of this one: runs that were started
-- at the same time are ordered by id, so no run is left out or told twice, whatever starts meanwhile.
-- Each flow's runs are read from its index, newest first (idx_runs_flow_started), until there are enough; conditions on
-- status and input are tested on the rows. Runs with the owner's rights, so that a caller needs none (D-11).
create or replace function pgflow_mp.list_runs(
  flow_slugs text[],
  statuses text[],
  cancelled boolean,
  started_after timestamptz,
  started_before timestamptz,
  input_contains jsonb,
  last_started_at timestamptz,
  last_run_id uuid,
  how_many int
)
returns setof jsonb
language sql
stable
security definer
set search_path = ''
as $$
  select pgflow_mp._run_as_json(newest.run)
  from pgflow.flows as f
  cross join lateral (
    select r as run, r.started_at, r.run_id
    from pgflow.runs as r
    where r.flow_slug = f.flow_slug
      and r.started_at <= coalesce(last_started_at, 'infinity')
      and (last_run_id is null or (r.started_at, r.run_id) < (last_started_at, last_run_id))
      and r.started_at >= coalesce(started_after, '-infinity')
      and r.started_at < coalesce(started_before, 'infinity')
      and (statuses is null or r.status = any (statuses))
      and (
        cancelled is null
        or cancelled = exists (
          select from pgflow_mp.runs as own where own.run_id = r.run_id and own.cancelled_at is not null
        )
      )
      and (input_contains is null or r.input @> input_contains)
    order by r.started_at desc, r.run_id desc
    limit how_many
  ) as newest
  where flow_slugs is null or f.flow_slug = any (flow_slugs)
  order by newest.started_at desc, newest.run_id desc
  limit how_many;
$$;
