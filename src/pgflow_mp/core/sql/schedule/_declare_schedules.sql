-- Brings the schedules that a flow declares in its code into the database: makes, changes and removes what differs, and
-- says so. To verify takes no right to write (D-11). Schedules that were made at run time stay as they are.
create or replace function pgflow_mp._declare_schedules(flow_slug text, schedules jsonb)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  difference record;
  said text[] := '{}';
begin
  for difference in
    select * from pgflow_mp._schedule_differences(_declare_schedules.flow_slug, _declare_schedules.schedules)
  loop
    if difference.declared is null then
      delete from pgflow_mp.schedules as s where s.schedule_name = difference.schedule_name;
    else
      perform pgflow_mp._write_schedule(_declare_schedules.flow_slug, difference.declared, declared => true);
    end if;
    said := said || difference.said;
  end loop;
  return said;
end;
$$;
