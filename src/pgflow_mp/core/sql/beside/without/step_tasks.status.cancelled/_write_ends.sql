-- Ends tasks, by the places of their rows, with their step (new_status skipped) or run (cancelled); returns their messages. A
-- core before 0.15.1 has neither status and would leave them as they are for ever (core FT-10): here they are failed, and
-- their error says why. The rows are locked (_lock_open_tasks).
create or replace function pgflow_mp._write_ends(tids tid[], new_status text)
returns table (queue_name text, message_id bigint)
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  return query
    update pgflow.step_tasks as t
    set status = 'failed',
        failed_at = greatest(now(), t.queued_at, t.started_at),
        error_message = case
          when _write_ends.new_status = 'skipped' then 'Step skipped'
          when exists (
            select from pgflow_mp.runs as ours where ours.run_id = t.run_id and ours.cancelled_at is not null
          ) then 'Run cancelled'
          else 'Run failed'
        end
    from unnest(tids) as open_task (tid)
    where t.ctid = open_task.tid
    returning t.queue_name, t.message_id;
end;
$$;
