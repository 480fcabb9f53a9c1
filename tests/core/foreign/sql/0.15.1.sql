-- Six statuses, honest claims (generations 2); the functions of the state machine look at the constraint.
alter table pgflow.step_tasks
  drop constraint valid_status,
  add constraint valid_status check (status in ('queued', 'started', 'completed', 'failed', 'skipped', 'cancelled'));

create or replace function pgflow.start_tasks(flow_slug text, msg_ids bigint[], worker_id uuid)
returns setof pgflow.step_task_record
language plpgsql
set search_path = ''
as $$
begin
  return query
  select t.flow_slug, t.run_id, t.step_slug, i.input, t.message_id, t.task_index, i.flow_input
  from pgflow._start_tasks(start_tasks.flow_slug, start_tasks.msg_ids, start_tasks.worker_id, null, null) as t
  cross join lateral pgflow._task_inputs(t) as i;
end;
$$;
