-- Starts a run for each of the given ticks of schedules and notes how far these have been considered, in one transaction:
-- schedule i was considered up to before[i] when the caller looked, now up to after[i], and is due again at next_ats[i].
-- Ticks are given apart: tick j, at tick_ats[j], is of schedule number of_schedule[j] and starts run run_ids[j].
-- Returns the ticks that have come, and the runs that they started; or the error, and no status.
--
-- Exactly one start for a tick, however many workers call this at once: whoever has the row of the schedule goes on only
-- if it is as the caller saw it, others pass it over; and a tick has a key of its own. A schedule whose flow refuses the
-- input starts nothing and keeps the reason, and does so alone.
-- Ticks are remembered for a week; the clock would have to go back further to start one again.
-- Locks flows before schedules, as deleting a flow does.
create or replace function pgflow_mp.start_ticks(
  worker_id uuid, names text[], before timestamptz[], after timestamptz[], next_ats timestamptz[],
  of_schedule int[], tick_ats timestamptz[], run_ids uuid[]
)
returns table (
  schedule_name text, flow_slug text, tick_at timestamptz, error text,
  run_id uuid, status text, started_at timestamptz, ended_at timestamptz
)
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
  schedule record;
  ids uuid[];
  times timestamptz[];
  refusal text;
begin
  perform
  from pgflow.flows as f
  where f.flow_slug in (
    select s.flow_slug from pgflow_mp.schedules as s where s.schedule_name = any(start_ticks.names)
  )
  order by f.flow_slug
  for key share;

  for schedule in
    select given.place, s.schedule_name, s.flow_slug, s.input, given.after, given.next_at
    from unnest(start_ticks.names, start_ticks.before, start_ticks.after, start_ticks.next_ats) with ordinality
      as given (name, before, after, next_at, place)
    join pgflow_mp.schedules as s on s.schedule_name = given.name and s.considered_at = given.before
    where s.paused_at is null
      and not exists (select from pgflow_mp.paused_flows as p where p.flow_slug = s.flow_slug)
    order by s.schedule_name
    for update of s skip locked
  loop
    refusal := null;
    begin
      with tick as (
        insert into pgflow_mp.ticks (schedule_name, tick_at, run_id, worker_id)
        select schedule.schedule_name, given.tick_at, given.run_id, start_ticks.worker_id
        from unnest(start_ticks.of_schedule, start_ticks.tick_ats, start_ticks.run_ids)
          as given (of_schedule, tick_at, run_id)
        where given.of_schedule = schedule.place
        on conflict on constraint ticks_pkey do nothing
        returning tick_at, run_id
      )
      select array_agg(tick.run_id order by tick.tick_at), array_agg(tick.tick_at order by tick.tick_at)
      into ids, times
      from tick;
      perform pgflow_mp._start_runs(
        schedule.flow_slug, array_fill(schedule.input, array[cardinality(ids)]), ids, strict => false)
      where ids is not null;
    exception when data_exception or raise_exception or integrity_constraint_violation or undefined_table then
      get stacked diagnostics refusal = message_text;
    end;

    update pgflow_mp.schedules as s
    set considered_at = schedule.after,
        next_at = schedule.next_at,
        last_tick_at = coalesce(times[cardinality(times)], s.last_tick_at),
        last_run_id = case when refusal is null then coalesce(ids[cardinality(ids)], s.last_run_id) else s.last_run_id end,
        last_error = case when times is null then s.last_error else refusal end
    where s.schedule_name = schedule.schedule_name;
    delete from pgflow_mp.ticks as t
    where t.schedule_name = schedule.schedule_name
      and t.tick_at < schedule.after - interval '7 days';

    return query
      select
        schedule.schedule_name, schedule.flow_slug, started.tick_at, refusal,
        started.run_id, r.status, r.started_at, coalesce(r.completed_at, r.failed_at)
      from unnest(times, ids) as started (tick_at, run_id)
      left join pgflow.runs as r on r.run_id = started.run_id
      order by started.tick_at;
  end loop;
end;
$$;
