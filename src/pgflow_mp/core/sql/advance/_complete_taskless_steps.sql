-- Completes steps without tasks, round by round, until a round finds none; returns how many were completed.
-- Rules: core 3.10 (entering round 51 is one too many), appendix A-4 (conditions are evaluated after every round,
-- and a run that they fail goes no further). Over the limit: raises when strict, else the run fails alone (D-6).
-- The caller holds the locks of the runs, or made them in this transaction.
create or replace function pgflow_mp._complete_taskless_steps(run_ids uuid[], strict boolean)
returns int
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  limit_text constant text := 'Cascade loop exceeded safety limit of 50 iterations';
  active uuid[] := run_ids;
  completed_runs uuid[];
  completed_steps text[];
  total int := 0;
  round int := 0;
begin
  loop
    exit when active is null or cardinality(active) = 0;
    round := round + 1;
    if round > 50 then
      if strict then
        raise exception '%', limit_text;
      end if;
      perform pgflow_mp._fail_runs(active, null, array_fill(limit_text, array[cardinality(active)]));
      exit;
    end if;

    with completed as (
      update pgflow.step_states as s
      set status = 'completed',
          started_at = greatest(now(), s.created_at),
          completed_at = greatest(now(), s.created_at),
          remaining_tasks = 0,
          output = case when st.step_type = 'map' then '[]'::jsonb end
      from pgflow.steps as st
      where s.run_id = any(active)
        and s.status = 'created'
        and s.remaining_deps = 0
        and s.initial_tasks = 0
        and st.flow_slug = s.flow_slug
        and st.step_slug = s.step_slug
      returning s.run_id, s.step_slug, st.step_index
    )
    select array_agg(run_id order by run_id, step_index), array_agg(step_slug order by run_id, step_index)
    into completed_runs, completed_steps
    from completed;
    exit when completed_runs is null;

    total := total + cardinality(completed_runs);
    if pgflow_mp._events_wanted() then
      perform pgflow_mp._send_step_events('completed taskless', completed_runs, completed_steps);
    end if;
    perform pgflow_mp._release_children(completed_runs, completed_steps);
    perform pgflow_mp._count_off_steps(completed_runs, steps => 1, and_complete => false);
    select array_agg(distinct run_id) into active from unnest(completed_runs) as run_id;
    if pgflow_mp._resolve_conditions(active, strict) then
      active := pgflow_mp._live_runs(active);
    end if;
  end loop;
  return total;
end;
$$;
