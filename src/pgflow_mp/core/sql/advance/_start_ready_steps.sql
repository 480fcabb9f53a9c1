-- Starts every ready step of the given runs that are started themselves: state, event, one task and one message
-- for each element. Ready is: created, no parent open, a known number of tasks above 0 (core 3.8). Messages are
-- sent run by run (in run_id order, which is time order for ids that we made), within a run in step_slug order,
-- within a step in task_index order (core 3.8.5); one statement for each queue.
-- The caller holds the locks of the runs, or made them in this transaction.
create or replace function pgflow_mp._start_ready_steps(run_ids uuid[])
returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  live uuid[] := pgflow_mp._live_runs(run_ids);
  started_runs uuid[];
  started_steps text[];
begin
  with started as (
    update pgflow.step_states as s
    set status = 'started',
        started_at = greatest(now(), s.created_at),
        remaining_tasks = s.initial_tasks
    where s.run_id = any(live)
      and s.status = 'created'
      and s.remaining_deps = 0
      and s.initial_tasks > 0
    returning s.run_id, s.step_slug
  )
  select array_agg(run_id order by run_id, step_slug), array_agg(step_slug order by run_id, step_slug)
  into started_runs, started_steps
  from started;

  if started_runs is not null then
    perform pgflow_mp._enqueue_tasks(started_runs, started_steps);
  end if;
end;
$$;
