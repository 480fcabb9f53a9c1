-- Starts a run of a schedule now, whatever its time and also while it is paused, with its input; returns the run, or
-- nothing when there is no such schedule. Its ticks go on as they would have.
-- Runs with the owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.run_schedule(schedule_name text, run_id uuid)
returns setof pgflow.runs
language plpgsql
security definer
set search_path = ''
as $$
declare
  schedule record;
begin
  select s.flow_slug, s.input into schedule
  from pgflow_mp.schedules as s
  where s.schedule_name = run_schedule.schedule_name;
  if not found then
    return;
  end if;
  return query
    select *
    from pgflow_mp._start_runs(
      schedule.flow_slug, array[schedule.input], array[run_schedule.run_id], strict => false);
  update pgflow_mp.schedules as s
  set last_run_id = run_schedule.run_id
  where s.schedule_name = run_schedule.schedule_name;
end;
$$;
