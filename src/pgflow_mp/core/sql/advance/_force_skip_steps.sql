-- Skips the given steps and, transitively, all that depend on them, whatever their other parents' state. Only
-- created and started steps change, and their open tasks with them; the walk goes on through terminal ones.
-- Returns how many changed. Several steps of one run are taken one after the other, in the order given, as
-- separate calls would.
-- Rules: core 3.11, generations 2.5 and TS-5 (tasks before messages), appendix A-6 (events in step_index order).
-- It completes no run. The caller holds the locks of the runs.
create or replace function pgflow_mp._force_skip_steps(run_ids uuid[], step_slugs text[], skip_reason text)
returns int
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  wave record;
  skipped_runs uuid[];
  skipped_steps text[];
  total int := 0;
begin
  for wave in
    select array_agg(nth.run_id) as run_ids, array_agg(nth.step_slug) as step_slugs
    from (
      select given.run_id, given.step_slug, row_number() over (partition by given.run_id order by given.place) as n
      from unnest(_force_skip_steps.run_ids, _force_skip_steps.step_slugs)
        with ordinality as given (run_id, step_slug, place)
    ) as nth
    group by nth.n
    order by nth.n
  loop
    with recursive trigger_step as (
      select t.run_id, r.flow_slug, t.step_slug
      from unnest(wave.run_ids, wave.step_slugs) as t (run_id, step_slug)
      cross join lateral (select own.flow_slug from pgflow.runs as own where own.run_id = t.run_id offset 0) as r
    ),
    doomed as (
      select t.run_id, t.flow_slug, t.step_slug, true as is_trigger from trigger_step as t
      union
      select doomed.run_id, d.flow_slug, d.step_slug, false
      from doomed
      join pgflow.deps as d on d.flow_slug = doomed.flow_slug and d.dep_slug = doomed.step_slug
    ),
    skipped as (
      update pgflow.step_states as s
      set status = 'skipped',
          skip_reason = case when doomed.is_trigger then _force_skip_steps.skip_reason else 'dependency_skipped' end,
          skipped_at = greatest(now(), s.created_at),
          remaining_tasks = null
      from doomed
      cross join lateral (
        select own_state.ctid as tid
        from pgflow.step_states as own_state
        where own_state.run_id = doomed.run_id
          and own_state.step_slug = doomed.step_slug
          and own_state.status in ('created', 'started')
        offset 0
      ) as own
      where s.ctid = own.tid
      returning s.run_id, s.flow_slug, s.step_slug
    )
    select
      array_agg(skipped.run_id order by skipped.run_id, st.step_index),
      array_agg(skipped.step_slug order by skipped.run_id, st.step_index)
    into skipped_runs, skipped_steps
    from skipped
    join pgflow.steps as st on st.flow_slug = skipped.flow_slug and st.step_slug = skipped.step_slug;

    if skipped_runs is not null then
      total := total + cardinality(skipped_runs);
      if pgflow_mp._events_wanted() then
        perform pgflow_mp._send_step_events('skipped', skipped_runs, skipped_steps);
      end if;
      perform pgflow_mp._end_open_tasks('skipped', skipped_runs, skipped_steps);
      perform pgflow_mp._count_off_steps(skipped_runs, steps => 1, and_complete => false);
    end if;
  end loop;
  return total;
end;
$$;
