-- Moves the given runs as far as they go without a worker: conditions, then taskless steps, then ready steps get
-- their tasks, then runs without steps left are completed. Called after anything that may have made a step ready.
--
-- Rules: core 3.6.5-6, CT-7, CT-9, FT-9 (conditions before anything is completed or started), appendix A-4
-- (conditions again after each taskless round). A run that exceeds a cascade's 50 rounds raises when strict, else
-- it fails alone (D-6).
-- The caller holds the locks of the runs, or made them in this transaction.
create or replace function pgflow_mp._advance_runs(run_ids uuid[], strict boolean)
returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  conditional boolean;
  taskless boolean;
  ready boolean;
begin
  if cardinality(run_ids) = 0 then
    return;
  end if;

  select
    bool_or(st.required_input_pattern is not null or st.forbidden_input_pattern is not null),
    bool_or(s.initial_tasks = 0),
    count(*) > 0
  into conditional, taskless, ready
  from pgflow.step_states as s
  join pgflow.steps as st on st.flow_slug = s.flow_slug and st.step_slug = s.step_slug
  where s.run_id = any(_advance_runs.run_ids)
    and s.status = 'created'
    and s.remaining_deps = 0;

  if ready then
    if conditional then
      perform pgflow_mp._resolve_conditions(run_ids, strict);
    end if;
    if conditional or taskless then
      perform pgflow_mp._complete_taskless_steps(pgflow_mp._live_runs(run_ids), strict);
    end if;
    perform pgflow_mp._start_ready_steps(run_ids);
  end if;
  perform pgflow_mp._complete_runs(run_ids);
end;
$$;
