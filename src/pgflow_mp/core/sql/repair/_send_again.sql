-- Queues tasks that have no message: a new message, visible at once, and the workers are woken. A running one is
-- queued again; its attempt stays counted. Task rows are locked before messages are made (D-2).
-- The caller holds the locks of the runs.
create or replace function pgflow_mp._send_again(run_ids uuid[], step_slugs text[], task_indexes int[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  task record;
  awake text[] := '{}';
begin
  for task in
    select t.flow_slug, t.run_id, t.step_slug, t.task_index, t.queue_name
    from unnest(_send_again.run_ids, _send_again.step_slugs, _send_again.task_indexes)
      with ordinality as given (run_id, step_slug, task_index, place)
    join pgflow.step_tasks as t
      on t.run_id = given.run_id and t.step_slug = given.step_slug and t.task_index = given.task_index
    where t.status in ('queued', 'started')
    order by given.place
    for update of t
  loop
    update pgflow.step_tasks as t
    set status = 'queued',
        started_at = null,
        last_worker_id = null,
        message_id = (
          select *
          from pgmq.send(
            task.queue_name,
            jsonb_build_object(
              'flow_slug', task.flow_slug, 'run_id', task.run_id, 'step_slug', task.step_slug,
              'task_index', task.task_index
            )
          )
        )
    where t.run_id = task.run_id
      and t.step_slug = task.step_slug
      and t.task_index = task.task_index;
    awake := awake || task.queue_name;
  end loop;
  perform pgflow_mp._notify('pgflow_mp_work', awake);
end;
$$;
