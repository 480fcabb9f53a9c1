-- Makes the messages of queued tasks visible delays[i] seconds from now. A task whose message is gone (archived
-- by an earlier recovery, or by hand) gets a new one: a queued task without a message would never run. Wakes
-- workers where a message is visible now. The caller has just written the task rows, so it holds their locks.
create or replace function pgflow_mp._reschedule_tasks(
  queue_names text[], message_ids bigint[], delays double precision[]
)
returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  task record;
  found_count int;
begin
  select count(*) into found_count
  from pgflow_mp._delay_messages(queue_names, message_ids, delays);

  if found_count < cardinality(message_ids) then
    for task in
      select t.run_id, t.step_slug, t.task_index, t.queue_name, given.delay,
        jsonb_build_object(
          'flow_slug', t.flow_slug, 'run_id', t.run_id, 'step_slug', t.step_slug, 'task_index', t.task_index) as body
      from unnest(_reschedule_tasks.queue_names, _reschedule_tasks.message_ids, _reschedule_tasks.delays)
        as given (queue_name, message_id, delay)
      cross join lateral (
        select own.*
        from pgflow.step_tasks as own
        where own.queue_name = given.queue_name
          and own.message_id = given.message_id
        offset 0
      ) as t
      where not pgflow_mp._message_exists(given.queue_name, given.message_id)
    loop
      update pgflow.step_tasks as t
      set message_id = (
        select * from pgmq.send(task.queue_name, task.body, ceil(task.delay)::int)
      )
      where t.run_id = task.run_id
        and t.step_slug = task.step_slug
        and t.task_index = task.task_index;
    end loop;
  end if;

  perform pgflow_mp._notify('pgflow_mp_work', array(
    select given.queue_name
    from unnest(_reschedule_tasks.queue_names, _reschedule_tasks.delays) as given (queue_name, delay)
    where given.delay <= 0
  ));
end;
$$;
