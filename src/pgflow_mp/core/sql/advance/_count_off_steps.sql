-- Takes steps that were completed or skipped off their runs' counters: each mention of a run stands for steps of
-- them.
-- and_complete: the same update completes live runs that have no step left; their output is slug -> output over
-- the completed leaf steps. A skipped leaf has no key, a NULL output is JSON null, no completed leaf at all gives
-- SQL NULL (core 3.12). Event and notification follow. Returns the runs that are still started.
-- The caller holds the locks of the runs.
create or replace function pgflow_mp._count_off_steps(run_ids uuid[], steps int, and_complete boolean)
returns uuid[]
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  live uuid[];
  completed uuid[];
begin
  with counted as (
    update pgflow.runs as r
    set remaining_steps = r.remaining_steps - finished.steps,
        status = case when finished.last then 'completed' else r.status end,
        completed_at = case when finished.last then greatest(now(), r.started_at) else r.completed_at end,
        output = case
          when finished.last then (
            select jsonb_object_agg(s.step_slug, coalesce(s.output, 'null'))
            from pgflow.step_states as s
            where s.run_id = r.run_id
              and s.status = 'completed'
              and not exists (
                select from pgflow.deps as d
                where d.flow_slug = s.flow_slug
                  and d.dep_slug = s.step_slug
              )
          )
          else r.output
        end
    from (
      select run.tid, mention.steps,
        _count_off_steps.and_complete and run.status = 'started' and run.remaining_steps = mention.steps as last
      from (
        select given.run_id, count(*) * _count_off_steps.steps as steps
        from unnest(_count_off_steps.run_ids) as given (run_id)
        group by given.run_id
      ) as mention
      cross join lateral (
        select own.ctid as tid, own.status, own.remaining_steps
        from pgflow.runs as own
        where own.run_id = mention.run_id
        offset 0
      ) as run
    ) as finished
    where r.ctid = finished.tid
      and (finished.steps > 0 or finished.last)
    returning r.run_id, r.status, finished.last
  )
  select
    array_agg(counted.run_id order by counted.run_id) filter (where counted.status = 'started'),
    array_agg(counted.run_id order by counted.run_id) filter (where counted.last)
  into live, completed
  from counted;

  if completed is not null then
    if pgflow_mp._events_wanted() then
      perform pgflow_mp._send_run_events('run:completed', completed);
    end if;
    perform pgflow_mp._notify('pgflow_mp_runs', completed::text[]);
  end if;
  return coalesce(live, '{}');
end;
$$;
