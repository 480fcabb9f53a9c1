-- Deletes one batch of what is older than the retention of its flow. Every worker calls it now and then; one at a time
-- sweeps, and after a sweep that found nothing more nobody does for `pause`: `more` is false then, and nothing deleted.
-- Runs with the owner's rights: a worker may delete what the owner has decided, and nothing else (D-11).
create or replace function pgflow_mp.sweep(
  batch_size int, pause interval,
  out runs bigint, out states bigint, out tasks bigint, out archived bigint, out more boolean
)
language plpgsql
security definer
set search_path = ''
as $$
declare
  slugs text[];
  keeps interval[];
begin
  perform from pgflow_mp.housekeeping as h
  where h.swept_at is null or h.swept_at < clock_timestamp() - sweep.pause
  for update skip locked;
  if not found then
    select 0, 0, 0, 0, false into runs, states, tasks, archived, more;
    return;
  end if;

  select array_agg(f.flow_slug), array_agg(case when own.flow_slug is null then general.keep else own.keep end)
  into slugs, keeps
  from pgflow.flows as f
  cross join pgflow_mp.housekeeping as general
  left join pgflow_mp.retention as own on own.flow_slug = f.flow_slug;

  select p.* into runs, states, tasks, archived, more from pgflow_mp._prune_flows(slugs, keeps, batch_size) as p;
  if not more then
    update pgflow_mp.housekeeping set swept_at = clock_timestamp();
    --beside: perform pgflow_mp._forget_the_gone();
  end if;
end;
$$;
