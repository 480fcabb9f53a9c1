-- What a worker has to know to start ticks: the time, the schedules that are due (most of them at a time, the longest
-- waiting first), and in how many seconds the next one is (NULL: none is known). Due is also a schedule whose next tick
-- nobody has worked out yet, and one that was considered later than now: the clock was put back.
-- Paused schedules, and those of paused flows, are not due.
create or replace function pgflow_mp.due_schedules(most int default 100)
returns table (
  at timestamptz, wait double precision, schedule_name text, cron text, every interval, time_zone text, catch_up text,
  starts_at timestamptz, considered_at timestamptz
)
language sql
volatile
security definer
set search_path = ''
as $$
  with clock as materialized (
    select pgflow_mp._clock() as at
  ),
  active as (
    select s.*
    from pgflow_mp.schedules as s
    where s.paused_at is null
      and not exists (select from pgflow_mp.paused_flows as p where p.flow_slug = s.flow_slug)
  ),
  due as (
    select a.*
    from active as a, clock
    where a.next_at is null
      or a.next_at <= clock.at
      or a.considered_at > clock.at + interval '1 second'
    order by a.next_at nulls first, a.schedule_name
    limit due_schedules.most
  )
  select
    clock.at, (select extract(epoch from min(a.next_at) - clock.at) from active as a where a.next_at > clock.at)::float8,
    due.schedule_name, due.cron, due.every, due.time_zone, due.catch_up, due.starts_at, due.considered_at
  from clock
  left join due on true;
$$;
