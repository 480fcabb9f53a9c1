-- Brings the schedules that a flow declares in its code into the database: makes, changes and removes what differs, and
-- names it. To verify takes no right to write (D-11). Schedules that were made at run time stay as they are.
create or replace function pgflow_mp._declare_schedules(flow_slug text, schedules jsonb)
returns text[]
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  schedule jsonb;
  removed text;
  changed text[] := '{}';
begin
  for schedule in
    select given
    from jsonb_array_elements(_declare_schedules.schedules) as given
    where not exists (
      select
      from pgflow_mp.schedules as s
      where s.schedule_name = given ->> 'name'
        and s.flow_slug = _declare_schedules.flow_slug
        and s.declared
        and s.cron is not distinct from given ->> 'cron'
        and s.every is not distinct from make_interval(secs => (given ->> 'every')::float8)
        and s.time_zone = given ->> 'time_zone'
        and s.input = given -> 'input'
        and s.catch_up = given ->> 'catch_up'
    )
  loop
    perform pgflow_mp._write_schedule(_declare_schedules.flow_slug, schedule, declared => true);
    changed := changed || format('%s is set', schedule ->> 'name');
  end loop;
  for removed in
    select s.schedule_name
    from pgflow_mp.schedules as s
    where s.flow_slug = _declare_schedules.flow_slug
      and s.declared
      and not exists (
        select from jsonb_array_elements(_declare_schedules.schedules) as given where given ->> 'name' = s.schedule_name
      )
  loop
    delete from pgflow_mp.schedules as s where s.schedule_name = removed;
    changed := changed || format('%s is removed', removed);
  end loop;
  return changed;
end;
$$;
