-- Says how long runs are kept after their end: of one flow, or (NULL) of all that have no rule of their own. keep NULL is
-- for good; as_others takes a flow's own rule away. For the owner: it decides what workers delete.
create or replace function pgflow_mp.set_retention(keep interval, flow_slug text default null, as_others boolean default false)
returns void
language plpgsql
set search_path = ''
as $$
begin
  if flow_slug is null then
    update pgflow_mp.housekeeping set keep = set_retention.keep, swept_at = null;
    return;
  end if;
  if as_others then
    delete from pgflow_mp.retention as r where r.flow_slug = set_retention.flow_slug;
  else
    insert into pgflow_mp.retention as r (flow_slug, keep)
    values (set_retention.flow_slug, set_retention.keep)
    on conflict on constraint retention_pkey do update set keep = excluded.keep;
  end if;
  update pgflow_mp.housekeeping set swept_at = null;
end;
$$;
