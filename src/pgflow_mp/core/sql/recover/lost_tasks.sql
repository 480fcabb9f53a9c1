-- Which of these attempts are no longer with the worker that runs them: their run has failed or was cancelled, their
-- step was skipped, their flow deleted, or they were given to somebody else. Returns places in the arrays.
-- A worker asks this about what it holds, so that nothing runs on whose result would change nothing (D-5).
create or replace function pgflow_mp.lost_tasks(
  run_ids uuid[], step_slugs text[], task_indexes int[], attempts int[], worker_ids uuid[]
)
returns setof int
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  return query
    select given.place::int
    from unnest(run_ids, step_slugs, task_indexes, attempts, worker_ids)
      with ordinality as given (run_id, step_slug, task_index, attempt, worker_id, place)
    left join lateral (
      select true as is_held
      from pgflow.step_tasks as t
      join pgflow.step_states as s on s.run_id = t.run_id and s.step_slug = t.step_slug
      join pgflow.runs as r on r.run_id = t.run_id
      where t.run_id = given.run_id
        and t.step_slug = given.step_slug
        and t.task_index = given.task_index
        and t.status = 'started'
        and t.attempts_count = given.attempt
        and t.last_worker_id = given.worker_id
        and s.status = 'started'  -- some cores leave the tasks of what has ended as they are (core FT-10)
        and r.status = 'started'
      offset 0
    ) as own on true
    where own.is_held is null
    order by given.place;
end;
$$;
