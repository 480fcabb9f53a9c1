-- What a worker has to know to start ticks: the time, the schedules that are due (most of them at a time, the longest
-- waiting first), and in how many seconds the next one is (NULL: none is known). Due is also a schedule whose next tick
-- nobody has worked out yet, and one that was considered later than now: the clock was put back.
-- Paused schedules, and those of paused flows, are not due.
create or replace function pgflow_mp.due_schedules(most int default 100)
returns table (
  at timestamptz, wait double precision, schedule_name text, cron text, every interval, time_zone text, catch_up text,
  starts_at timestamptz, considered_at timestamptz
)
language plpgsql
volatile
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
  now constant timestamptz := pgflow_mp._clock();
  paused constant text[] := array(select p.flow_slug from pgflow_mp.paused_flows as p);
  seconds double precision;
begin
  select extract(epoch from s.next_at - now) into seconds
  from pgflow_mp.schedules as s
  where s.next_at > now
    and s.paused_at is null
    and s.flow_slug <> all(paused)
  order by s.next_at
  limit 1;

  return query
    select
      now, seconds, due.schedule_name, due.cron, due.every, due.time_zone, due.catch_up, due.starts_at, due.considered_at
    from (values (1)) as always
    left join (
      select s.*
      from (  -- an index for each
        select unknown.* from pgflow_mp.schedules as unknown where unknown.next_at is null
        union all
        select come.* from pgflow_mp.schedules as come where come.next_at <= now
        union all
        select ahead.*
        from pgflow_mp.schedules as ahead
        where ahead.considered_at > now + interval '1 second'
          and ahead.next_at > now
      ) as s
      where s.paused_at is null
        and s.flow_slug <> all(paused)
      order by s.next_at nulls first, s.schedule_name
      limit due_schedules.most
    ) as due on true;
end;
$$;
