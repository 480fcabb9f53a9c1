-- Makes or changes one schedule; returns whether it differed from what was there. Raises when it is another flow's.
create or replace function pgflow_mp._write_schedule(flow_slug text, schedule jsonb, declared boolean)
returns boolean
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  at constant timestamptz := pgflow_mp._clock();
  owner text;
begin
  --beside: perform pgflow_mp._assert_flow(_write_schedule.flow_slug, 'schedules_flow_slug_fkey');
  insert into pgflow_mp.schedules as s (
    schedule_name, flow_slug, cron, every, time_zone, input, catch_up, declared, starts_at, considered_at)
  values (
    schedule ->> 'name', _write_schedule.flow_slug, schedule ->> 'cron',
    make_interval(secs => (schedule ->> 'every')::float8), schedule ->> 'time_zone', schedule -> 'input',
    schedule ->> 'catch_up', _write_schedule.declared, at, at)
  on conflict on constraint schedules_pkey do update
  set cron = excluded.cron,
      every = excluded.every,
      time_zone = excluded.time_zone,
      input = excluded.input,
      catch_up = excluded.catch_up,
      declared = excluded.declared,
      starts_at = case when s.every is distinct from excluded.every then at else s.starts_at end,
      considered_at = at,
      next_at = null
  where s.flow_slug = excluded.flow_slug
    and (s.cron, s.every, s.time_zone, s.input, s.catch_up, s.declared) is distinct from
      (excluded.cron, excluded.every, excluded.time_zone, excluded.input, excluded.catch_up, excluded.declared);
  if found then
    return true;
  end if;
  select s.flow_slug into owner from pgflow_mp.schedules as s where s.schedule_name = schedule ->> 'name';
  if owner <> _write_schedule.flow_slug then
    raise exception 'there is a schedule "%" of flow "%"; give this one another name, or delete that one',
      schedule ->> 'name', owner;
  end if;
  return false;
end;
$$;
