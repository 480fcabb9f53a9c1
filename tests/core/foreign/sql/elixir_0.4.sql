-- Core V02 with helpers V05: a claim of eight columns by queue, and the stamps of both (generations 7.1).
create or replace function pgflow.start_tasks(flow_slug text, msg_ids bigint[], worker_id uuid, queue_name text)
returns setof pgflow.step_task_record
language plpgsql
set search_path = ''
as $$
begin
  return query
  select t.flow_slug, t.run_id, t.step_slug, i.input, t.message_id, t.task_index, i.flow_input, t.attempts_count
  from pgflow._start_tasks(
    start_tasks.flow_slug, start_tasks.msg_ids, start_tasks.worker_id, coalesce(start_tasks.queue_name, ''), null
  ) as t
  cross join lateral pgflow._task_inputs(t) as i;
end;
$$;

create or replace view pgflow.extensions_version as select 5 as version;
comment on view pgflow.extensions_version is 'pgflow extensions version=5';
create view pgflow.pgflow_version as select 2 as version;
comment on view pgflow.pgflow_version is 'pgflow core version=2';
