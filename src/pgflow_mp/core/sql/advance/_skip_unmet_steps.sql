-- Skips steps whose condition is unmet, plainly: their children go on as if the step had finished without output.
-- Rules: core 3.9.7. The caller holds the locks of the runs.
create or replace function pgflow_mp._skip_unmet_steps(run_ids uuid[], step_slugs text[])
returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  update pgflow.step_states as s
  set status = 'skipped',
      skip_reason = 'condition_unmet',
      skipped_at = greatest(now(), s.created_at),
      remaining_tasks = null
  from unnest(_skip_unmet_steps.run_ids, _skip_unmet_steps.step_slugs) as given (run_id, step_slug)
  cross join lateral (
    select own_state.ctid as tid
    from pgflow.step_states as own_state
    where own_state.run_id = given.run_id
      and own_state.step_slug = given.step_slug
    offset 0
  ) as own
  where s.ctid = own.tid;

  if pgflow_mp._events_wanted() then
    perform pgflow_mp._send_step_events('skipped', run_ids, step_slugs);
  end if;
  perform pgflow_mp._release_children(run_ids, step_slugs);
  perform pgflow_mp._count_off_steps(run_ids, steps => 1, and_complete => false);
end;
$$;
