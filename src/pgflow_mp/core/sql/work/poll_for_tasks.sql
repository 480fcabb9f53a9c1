-- Deprecated and without effect since a claim has two steps; kept so that old callers get an answer.
-- Rule: core 3.18.
create or replace function pgflow.poll_for_tasks(
  queue_name text,
  vt int,
  qty int,
  max_poll_seconds int default 5,
  poll_interval_ms int default 100
)
returns setof pgflow.step_task_record
language plpgsql
set search_path = ''
as $$
begin
  raise notice 'pgflow.poll_for_tasks is deprecated and returns no tasks'
    using hint = 'Use pgmq.read_with_poll and pgflow.start_tasks.';
end;
$$;
