-- Notes how far tasks are, for people who look: the last report of an attempt replaces the one before. An attempt that
-- is not the task's current one any more reports nothing. It holds no task and waits for none; rows are written in the
-- order of run, step and element, so that two workers never wait for each other crosswise.
create or replace function pgflow_mp.report_progress(
  run_ids uuid[], step_slugs text[], task_indexes int[], attempts int[], fractions float8[], messages text[]
)
returns void
language sql
security definer
set search_path = ''
as $$
  insert into pgflow_mp.task_progress as old (run_id, step_slug, task_index, attempt, fraction, message, reported_at)
  select given.run_id, given.step_slug, given.task_index, given.attempt, given.fraction, given.message, clock_timestamp()
  from unnest(run_ids, step_slugs, task_indexes, attempts, fractions, messages)
    as given (run_id, step_slug, task_index, attempt, fraction, message)
  cross join lateral (
    select from pgflow.step_tasks as t
    where t.run_id = given.run_id
      and t.step_slug = given.step_slug
      and t.task_index = given.task_index
      and t.attempts_count = given.attempt
    offset 0
  ) as current_attempt
  order by given.run_id, given.step_slug, given.task_index
  on conflict (run_id, step_slug, task_index) do update
  set attempt = excluded.attempt,
      fraction = excluded.fraction,
      message = excluded.message,
      reported_at = excluded.reported_at
  where old.attempt <= excluded.attempt;
$$;
