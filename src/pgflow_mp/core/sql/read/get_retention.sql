-- How long runs are kept after their end, in seconds: the rule for all flows (flow_slug '') and those of single ones;
-- NULL is for good. Runs with its owner's rights: clients may ask (D-11).
create or replace function pgflow_mp.get_retention()
returns table (flow_slug text, keep_seconds double precision)
language sql
stable
security definer
set search_path = ''
as $$
  select '', extract(epoch from h.keep)::double precision from pgflow_mp.housekeeping as h
  union all
  select r.flow_slug, extract(epoch from r.keep)::double precision from pgflow_mp.retention as r
  order by 1;
$$;
