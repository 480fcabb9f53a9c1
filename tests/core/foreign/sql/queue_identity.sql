-- Steps and tasks name their queue (generations 4).
alter table pgflow.steps add column queue_name text;
alter table pgflow.step_tasks add column queue_name text;
update pgflow.steps set queue_name = lower(flow_slug);
update pgflow.step_tasks set queue_name = lower(flow_slug);
alter table pgflow.steps
  alter column queue_name set not null,
  add constraint queue_name_is_valid check (pgflow.is_valid_queue_name(queue_name));
alter table pgflow.step_tasks
  alter column queue_name set not null,
  add constraint queue_name_is_valid check (pgflow.is_valid_queue_name(queue_name));
drop index pgflow.idx_step_tasks_message_id;
create unique index idx_step_tasks_queue_message on pgflow.step_tasks (queue_name, message_id)
  where message_id is not null;
create unique index idx_flows_normalized_slug on pgflow.flows (lower(flow_slug));

drop function pgflow.start_tasks(text, bigint[], uuid);
create function pgflow.start_tasks(flow_slug text, msg_ids bigint[], worker_id uuid, queue_name text)
returns setof pgflow.step_task_record
language plpgsql
set search_path = ''
as $$
begin
  return query
  select t.flow_slug, t.run_id, t.step_slug, i.input, t.message_id, t.task_index, i.flow_input
  from pgflow._start_tasks(
    start_tasks.flow_slug, start_tasks.msg_ids, start_tasks.worker_id, coalesce(start_tasks.queue_name, ''), null
  ) as t
  cross join lateral pgflow._task_inputs(t) as i;
end;
$$;
