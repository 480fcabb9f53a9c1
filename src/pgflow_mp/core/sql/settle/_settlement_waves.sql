-- Sorts outcomes into the order in which they are applied; one number for each, in order:
--   1, 2, ...  completions of that wave
--   -1         failures, after all completions
--   0          repeats of a task named earlier in the same call: the first outcome of the running attempt wins, so
--              that a late one of an earlier attempt cannot take its place (D-5)
-- Completions of different steps of one run normally commute and make one wave. They do not when a step of the
-- flow may fail the run by its condition: then each run completes one step a wave, so that the result is that of
-- some sequence.
create or replace function pgflow_mp._settlement_waves(
  run_ids uuid[], step_slugs text[], task_indexes int[], attempts int[], worker_ids uuid[], errors text[]
)
returns int[]
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  waves int[];
  repeated boolean;
  mixed boolean;
begin
  if cardinality(run_ids) = 1 then
    return array[case when errors[1] is null then 1 else -1 end];
  end if;

  select
    array_agg(case when given.error is null then 1 else -1 end order by given.place),
    count(*) > count(distinct (given.run_id, given.step_slug, given.task_index)),
    count(distinct (given.run_id, given.step_slug)) > count(distinct given.run_id)
  into waves, repeated, mixed
  from unnest(_settlement_waves.run_ids, _settlement_waves.step_slugs, _settlement_waves.task_indexes,
      _settlement_waves.errors) with ordinality as given (run_id, step_slug, task_index, error, place);

  if not repeated and not (mixed and exists (
    select
    from pgflow.runs as r
    join pgflow.steps as s on s.flow_slug = r.flow_slug
    where r.run_id = any(_settlement_waves.run_ids)
      and s.when_unmet = 'fail'
      and (s.required_input_pattern is not null or s.forbidden_input_pattern is not null)
  )) then
    return waves;
  end if;

  return array(
    select
      case
        when ranked.repeat > 1 then 0
        when ranked.error is not null then -1
        else dense_rank() over (partition by ranked.run_id order by ranked.step_place)
      end
    from (
      select
        given.run_id, given.step_slug, given.task_index, given.error, given.place,
        row_number() over (
          partition by given.run_id, given.step_slug, given.task_index
          order by (
            t.status = 'started'
            and (given.attempt is null or t.attempts_count = given.attempt)
            and (given.worker_id is null or t.last_worker_id = given.worker_id)
          ) is true desc, given.place
        ) as repeat,
        min(given.place) over (partition by given.run_id, given.step_slug) as step_place
      from unnest(_settlement_waves.run_ids, _settlement_waves.step_slugs, _settlement_waves.task_indexes,
          _settlement_waves.attempts, _settlement_waves.worker_ids, _settlement_waves.errors)
        with ordinality as given (run_id, step_slug, task_index, attempt, worker_id, error, place)
      left join lateral (
        select own.status, own.attempts_count, own.last_worker_id
        from pgflow.step_tasks as own
        where own.run_id = given.run_id
          and own.step_slug = given.step_slug
          and own.task_index = given.task_index
        offset 0
      ) as t on true
    ) as ranked
    order by ranked.place
  );
end;
$$;
