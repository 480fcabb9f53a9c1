-- Deletes keys that stand for runs which somebody else has deleted, so that they can start a run again. A key that is seen
-- was committed together with its run, so a run that is not seen is gone.
create or replace function pgflow_mp._forget_keys(flow_slug text, keys text[])
returns void
language sql
set search_path = ''
as $$
  delete from pgflow_mp.run_keys as ours
  using (
    select stale.flow_slug, stale.key
    from pgflow_mp.run_keys as stale
    where stale.flow_slug = _forget_keys.flow_slug
      and stale.key = any (_forget_keys.keys)
      and not exists (select from pgflow.runs as r where r.run_id = stale.run_id)
    order by stale.key
    for update
  ) as gone
  where ours.flow_slug = gone.flow_slug
    and ours.key = gone.key;
$$;
