-- Starts the tasks of messages that a worker read from a queue, and returns what their handlers need (core 3.13,
-- generations 2.6, 5.8). Two functions: with three or four arguments, for flows with one queue, and with five,
-- where step_slug names the step of a flow with a queue for each (generations 9.1: the defaults are part of the
-- contract).
create or replace function pgflow.start_tasks(
  flow_slug text, msg_ids bigint[], worker_id uuid, queue_name text default null
)
returns setof pgflow.step_task_record
language plpgsql
set search_path = ''
as $$
begin
  return query select * from pgflow.start_tasks(
    start_tasks.flow_slug, start_tasks.msg_ids, start_tasks.worker_id,
    coalesce(start_tasks.queue_name, lower(start_tasks.flow_slug)), null::text);
end;
$$;

create or replace function pgflow.start_tasks(
  flow_slug text, msg_ids bigint[], worker_id uuid, queue_name text, step_slug text
)
returns setof pgflow.step_task_record
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  mode text;
begin
  select f.queue_mode into mode from pgflow.flows as f where f.flow_slug = start_tasks.flow_slug;
  if mode is null then
    return;
  end if;
  if mode = 'step' and start_tasks.step_slug is null then
    raise exception 'Flow "%" uses per-step queues: an exact step_slug is required to claim tasks.',
      start_tasks.flow_slug;
  end if;
  if mode = 'step' and not exists (
    select from pgflow.steps as s
    where s.flow_slug = start_tasks.flow_slug
      and s.step_slug = start_tasks.step_slug
      and s.queue_name = lower(start_tasks.queue_name)
  ) then
    raise exception 'Step "%" does not route to queue "%" in flow "%".',
      start_tasks.step_slug, start_tasks.queue_name, start_tasks.flow_slug;
  end if;
  if mode = 'flow' and start_tasks.step_slug is not null then
    raise exception 'Flow "%" uses the default flow queue: a step selector is not allowed.', start_tasks.flow_slug;
  end if;

  return query
    select start_tasks.flow_slug, t.run_id, t.step_slug, t.input, t.msg_id, t.task_index, t.flow_input, t.attempt
    from pgflow_mp._claim_messages(
      start_tasks.flow_slug, lower(start_tasks.queue_name), start_tasks.step_slug, start_tasks.msg_ids,
      start_tasks.worker_id, cardinality(start_tasks.msg_ids), strict => true) as t;
end;
$$;
