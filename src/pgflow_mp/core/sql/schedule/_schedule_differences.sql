-- The schedules of a flow that are not in the database as its code declares them: {name, declared, said}; declared is the
-- schedule, NULL where the code has it no more. Schedules that were made at run time are left out.
create or replace function pgflow_mp._schedule_differences(flow_slug text, schedules jsonb)
returns table (schedule_name text, declared jsonb, said text)
language sql
stable
set search_path = ''
as $$
  select given ->> 'name', given, format('schedule %s is set', given ->> 'name')
  from jsonb_array_elements(_schedule_differences.schedules) as given
  where not exists (
    select
    from pgflow_mp.schedules as s
    where s.schedule_name = given ->> 'name'
      and s.flow_slug = _schedule_differences.flow_slug
      and s.declared
      and s.cron is not distinct from given ->> 'cron'
      and s.every is not distinct from make_interval(secs => (given ->> 'every')::float8)
      and s.time_zone = given ->> 'time_zone'
      and s.input = given -> 'input'
      and s.catch_up = given ->> 'catch_up'
  )
  union all
  select s.schedule_name, null, format('schedule %s is removed', s.schedule_name)
  from pgflow_mp.schedules as s
  where s.flow_slug = _schedule_differences.flow_slug
    and s.declared
    and not exists (
      select
      from jsonb_array_elements(_schedule_differences.schedules) as given
      where given ->> 'name' = s.schedule_name
    );
$$;
