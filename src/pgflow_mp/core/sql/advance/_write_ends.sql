-- Gives tasks, by the places of their rows, the status in which they end with their step or run, and nothing else
-- (generations TS-3); returns their messages. The rows are locked (_lock_open_tasks).
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
    set status = _write_ends.new_status
    from unnest(tids) as open_task (tid)
    where t.ctid = open_task.tid
    returning t.queue_name, t.message_id;
end;
$$;
