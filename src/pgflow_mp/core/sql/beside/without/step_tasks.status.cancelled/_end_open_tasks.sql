-- Ends the queued and started tasks of steps that were skipped (new_status skipped) or of runs that failed (new_status
-- cancelled, step_slugs NULL: all steps), then archives their messages. A core before 0.15.1 has neither status and would
-- leave them as they are for ever (core FT-10); here they are failed, and their error says why.
-- The caller holds the locks of the runs.
create or replace function pgflow_mp._end_open_tasks(new_status text, run_ids uuid[], step_slugs text[] default null)
returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  tids constant tid[] := array(select pgflow_mp._lock_open_tasks(run_ids, step_slugs));
  queue_names text[];
  message_ids bigint[];
begin
  with ended as (
    update pgflow.step_tasks as t
    set status = 'failed',
        failed_at = greatest(now(), t.queued_at, t.started_at),
        error_message = case
          when _end_open_tasks.new_status = 'skipped' then 'Step skipped'
          when exists (
            select from pgflow_mp.runs as ours where ours.run_id = t.run_id and ours.cancelled_at is not null
          ) then 'Run cancelled'
          else 'Run failed'
        end
    from unnest(tids) as open_task (tid)
    where t.ctid = open_task.tid
    returning t.queue_name, t.message_id
  )
  select array_agg(queue_name), array_agg(message_id) into queue_names, message_ids from ended;
  perform pgflow_mp._archive_messages(queue_names, message_ids);
end;
$$;
