-- Pauses a schedule, or resumes it; returns whether there is one. What ticked during the pause is not caught up.
-- Runs with the owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.pause_schedule(schedule_name text, paused boolean default true)
returns boolean
language sql
security definer
set search_path = ''
as $$
  with changed as (
    update pgflow_mp.schedules as s
    set paused_at = case when paused then now() end,
        considered_at = case when paused then s.considered_at else pgflow_mp._clock() end,
        next_at = null
    where s.schedule_name = pause_schedule.schedule_name
      and (s.paused_at is not null) <> paused
  )
  select exists (select from pgflow_mp.schedules as s where s.schedule_name = pause_schedule.schedule_name);
$$;
