-- Evaluates the conditions of all steps of the given runs that are created with no parent open; unmet ones fail
-- their run, are skipped, or are skipped with all that depends on them. Rounds go on for the runs in which a
-- plain skip may have made further steps ready. Returns whether any condition was found unmet.
--
-- Rules: core 3.9 (in a round fail comes first, then skip, then skip-cascade; entering round 51 is one too many);
-- generations 2.4. Over the limit: raises when strict, else the run fails alone (D-6).
-- The caller holds the locks of the runs, or made them in this transaction.
create or replace function pgflow_mp._resolve_conditions(run_ids uuid[], strict boolean)
returns boolean
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  limit_text constant text := 'cascade_resolve_conditions exceeded safety limit of 50 iterations';
  active uuid[] := run_ids;
  failing_runs uuid[];
  failing_steps text[];
  skipped_runs uuid[];
  skipped_steps text[];
  cascading_runs uuid[];
  cascading_steps text[];
  found_unmet boolean := false;
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
      return true;
    end if;

    with unmet as (
      select u.run_id, u.step_slug, u.step_index, u.when_unmet,
        bool_or(u.when_unmet = 'fail') over (partition by u.run_id) as run_fails,
        row_number() over (partition by u.run_id, u.when_unmet order by u.step_index) as place
      from pgflow_mp._unmet_conditions(active) as u
    )
    select
      array_agg(run_id order by run_id) filter (where when_unmet = 'fail' and place = 1),
      array_agg(step_slug order by run_id) filter (where when_unmet = 'fail' and place = 1),
      array_agg(run_id order by run_id, step_index) filter (where when_unmet = 'skip' and not run_fails),
      array_agg(step_slug order by run_id, step_index) filter (where when_unmet = 'skip' and not run_fails),
      array_agg(run_id order by place, run_id) filter (where when_unmet = 'skip-cascade' and not run_fails),
      array_agg(step_slug order by place, run_id) filter (where when_unmet = 'skip-cascade' and not run_fails)
    into failing_runs, failing_steps, skipped_runs, skipped_steps, cascading_runs, cascading_steps
    from unmet;

    found_unmet := found_unmet
      or failing_runs is not null or skipped_runs is not null or cascading_runs is not null;
    if failing_runs is not null then
      perform pgflow_mp._fail_runs(
        failing_runs, failing_steps, array_fill('Condition not met'::text, array[cardinality(failing_runs)]));
    end if;
    if skipped_runs is not null then
      perform pgflow_mp._skip_unmet_steps(skipped_runs, skipped_steps);
    end if;
    if cascading_runs is not null then
      perform pgflow_mp._force_skip_steps(cascading_runs, cascading_steps, 'condition_unmet');
    end if;
    select array_agg(distinct run_id) into active from unnest(skipped_runs) as run_id;
  end loop;
  return found_unmet;
end;
$$;
