-- Schedules as JSON, by name: the row, `flow_paused`, and `every` in seconds. NULL asks for those of all flows, or of all
-- names.
-- Runs with the owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.list_schedules(flow_slug text default null, schedule_name text default null)
returns setof jsonb
language sql
stable
security definer
set search_path = ''
as $$
  select to_jsonb(s) || jsonb_build_object(
    'every', extract(epoch from s.every),
    'flow_paused', exists (select from pgflow_mp.paused_flows as p where p.flow_slug = s.flow_slug)
  )
  from pgflow_mp.schedules as s
  where (list_schedules.flow_slug is null or s.flow_slug = list_schedules.flow_slug)
    and (list_schedules.schedule_name is null or s.schedule_name = list_schedules.schedule_name)
  order by s.schedule_name collate "C";
$$;
