-- Archives the messages of tasks that can never run again although an outcome for them came too late: their step
-- or their run has ended. A task that waits for another attempt keeps its message (D-5).
-- Rules: core CT-3, FT-3; generations CT-2', FT-2'. The caller holds the locks of the runs.
create or replace function pgflow_mp._archive_late_messages(
  run_ids uuid[], step_slugs text[], task_indexes int[], is_done boolean[]
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
  queue_names text[];
  message_ids bigint[];
begin
  select array_agg(t.queue_name), array_agg(t.message_id)
  into queue_names, message_ids
  from unnest(
    _archive_late_messages.run_ids, _archive_late_messages.step_slugs, _archive_late_messages.task_indexes,
    _archive_late_messages.is_done, pgflow_mp._live_flows(run_ids, step_slugs)
  ) as given (run_id, step_slug, task_index, is_done, live_flow)
  cross join lateral (
    select own.queue_name, own.message_id
    from pgflow.step_tasks as own
    where own.run_id = given.run_id
      and own.step_slug = given.step_slug
      and own.task_index = given.task_index
    offset 0
  ) as t
  where not given.is_done
    and given.live_flow is null;
  perform pgflow_mp._archive_messages(queue_names, message_ids);
end;
$$;
