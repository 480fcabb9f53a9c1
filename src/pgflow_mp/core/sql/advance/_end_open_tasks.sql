-- Ends the queued and started tasks of steps that were skipped (new_status skipped) or of runs that failed
-- (new_status cancelled, step_slugs NULL: all steps), then archives their messages: task rows before queue rows.
-- Rules: generations TS-1 to TS-5. The caller holds the locks of the runs.
create or replace function pgflow_mp._end_open_tasks(new_status text, run_ids uuid[], step_slugs text[] default null)
returns void
language plpgsql
set search_path = ''
as $$
declare
  tids constant tid[] := array(select pgflow_mp._lock_open_tasks(run_ids, step_slugs));
  queue_names text[];
  message_ids bigint[];
begin
  select array_agg(ended.queue_name), array_agg(ended.message_id)
  into queue_names, message_ids
  from pgflow_mp._write_ends(tids, new_status) as ended;
  perform pgflow_mp._archive_messages(queue_names, message_ids);
end;
$$;
