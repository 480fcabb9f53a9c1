-- Skips steps of which a task ran out of attempts and whose when_exhausted is skip or skip-cascade; one step a
-- run. The open tasks of the step go with it. Plain: its children go on as if it had finished without output;
-- cascade: all that depend on it are skipped too. Rules: core FT-6, FT-7, FT-9; generations FT-9'. The caller
-- holds the locks of the runs.
create or replace function pgflow_mp._skip_exhausted_steps(
  run_ids uuid[], step_slugs text[], error_messages text[], strict boolean
)
returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  plain_runs uuid[];
  plain_steps text[];
  cascading_runs uuid[];
  cascading_steps text[];
begin
  with skipped as (
    update pgflow.step_states as s
    set status = 'skipped',
        skip_reason = 'handler_failed',
        skipped_at = greatest(now(), s.created_at),
        error_message = given.error_message,
        remaining_tasks = null
    from unnest(
      _skip_exhausted_steps.run_ids, _skip_exhausted_steps.step_slugs, _skip_exhausted_steps.error_messages
    ) as given (run_id, step_slug, error_message)
    cross join lateral (
      select own_state.ctid as tid
      from pgflow.step_states as own_state
      where own_state.run_id = given.run_id
        and own_state.step_slug = given.step_slug
      offset 0
    ) as own
    where s.ctid = own.tid
    returning s.run_id, s.flow_slug, s.step_slug
  )
  select
    array_agg(skipped.run_id order by skipped.run_id) filter (where st.when_exhausted = 'skip'),
    array_agg(skipped.step_slug order by skipped.run_id) filter (where st.when_exhausted = 'skip'),
    array_agg(skipped.run_id order by skipped.run_id) filter (where st.when_exhausted = 'skip-cascade'),
    array_agg(skipped.step_slug order by skipped.run_id) filter (where st.when_exhausted = 'skip-cascade')
  into plain_runs, plain_steps, cascading_runs, cascading_steps
  from skipped
  join pgflow.steps as st on st.flow_slug = skipped.flow_slug and st.step_slug = skipped.step_slug;

  perform pgflow_mp._end_open_tasks('skipped', run_ids, step_slugs);
  if pgflow_mp._events_wanted() then
    perform pgflow_mp._send_step_events('skipped by handler', run_ids, step_slugs);
  end if;
  perform pgflow_mp._count_off_steps(run_ids, steps => 1, and_complete => false);
  if cascading_runs is not null then
    perform pgflow_mp._force_skip_steps(cascading_runs, cascading_steps, 'handler_failed');
  end if;
  if plain_runs is not null then
    perform pgflow_mp._release_children(plain_runs, plain_steps);
  end if;
  perform pgflow_mp._advance_runs(run_ids, strict);
end;
$$;
