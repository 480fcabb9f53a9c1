-- Starts one run for each input whose key has started none yet, as enqueue does; answers for each input, in order, with
-- the run that its key stands for, and whether this call has started it. keys[i] NULL: no key, always a new run. Of
-- several inputs with one key the first counts.
-- A key stands for its run as long as that is kept; with while_running, as long as it is going: a key whose run has
-- ended is then given a new one.
-- However many calls come at once, one of them starts the run and the others wait for its transaction, then answer
-- with that run, or start one themselves if it was rolled back. Keys are locked in their order, before any run (D-2).
-- Runs with the owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.start_once(
  flow_slug text, inputs jsonb[], run_ids uuid[], keys text[], while_running boolean default false,
  delay_seconds int default 0, scheduled_at timestamptz default null
)
returns table (
  run_id uuid, status text, started_at timestamptz, ended_at timestamptz, is_new boolean
)
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
  places int[];
begin
  --beside: perform pgflow_mp._forget_keys(start_once.flow_slug, start_once.keys);
  with first_of_key as (
    select min(given.place) as place, given.key
    from unnest(start_once.keys) with ordinality as given (key, place)
    where given.key is not null
    group by given.key
  ),
  taken as (
    insert into pgflow_mp.run_keys as k (flow_slug, key, run_id)
    select start_once.flow_slug, first.key, start_once.run_ids[first.place]
    from first_of_key as first
    order by first.key
    -- The row is locked whether it changes or not, so it cannot be deleted before it was read below.
    on conflict on constraint run_keys_pkey do update
    set run_id = excluded.run_id
    where start_once.while_running
      and exists (select from pgflow.runs as r where r.run_id = k.run_id and r.status <> 'started')
    returning k.key
  )
  select array_agg(wanted.place order by wanted.place)
  into places
  from (
    select first.place from first_of_key as first join taken on taken.key = first.key
    union all
    select given.place
    from unnest(start_once.keys) with ordinality as given (key, place)
    where given.key is null
  ) as wanted;

  if places is not null then
    perform pgflow_mp.enqueue(
      start_once.flow_slug,
      array(select start_once.inputs[p] from unnest(places) as p),
      array(select start_once.run_ids[p] from unnest(places) as p),
      start_once.delay_seconds,
      start_once.scheduled_at
    );
  end if;

  return query
    select r.run_id, r.status, r.started_at, coalesce(r.completed_at, r.failed_at), given.place = any (places)
    from unnest(start_once.keys, start_once.run_ids) with ordinality as given (key, own_run_id, place)
    left join pgflow_mp.run_keys as k on k.flow_slug = start_once.flow_slug and k.key = given.key
    join pgflow.runs as r on r.run_id = coalesce(k.run_id, given.own_run_id)
    order by given.place;
end;
$$;
