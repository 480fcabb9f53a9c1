-- Everything that repair can mend, of some runs (NULL: of all), in the order in which it is mended: what comes
-- later may follow from what comes before. Each statement sees one moment of the database, in which everything
-- that goes on normally is whole; so work in progress is never taken for damage.
create or replace function pgflow_mp._damage(only_runs uuid[])
returns table (
  place int, damage text, flow_slug text, run_id uuid, step_slug text, task_index int, queue_name text, message_id bigint
)
language plpgsql
stable
set search_path = ''
as $$
#variable_conflict use_column
begin
  return query
    select
      array_position(
        array[
          'missing queue', 'open task of an ended step', 'open task of an ended run', 'task of a step not started',
          'wrong counter', 'map without a size', 'failed step of a live run', 'task given up',
          'failed task of a live step', 'step without open tasks', 'missing task', 'task without a message',
          'ready step that was not started', 'run without open steps', 'message without a task'
        ],
        found.damage
      ),
      found.*
    from (
      select
        'missing queue', s.flow_slug, null::uuid, null::text, null::int, s.queue_name, null::bigint
      from pgflow.steps as s
      where to_regclass(format('pgmq.%I', pgmq.format_table_name(s.queue_name, 'q'))) is null
      group by s.flow_slug, s.queue_name
      union all
      select t.damage, t.flow_slug, t.run_id, t.step_slug, t.task_index, null, null
      from pgflow_mp._damaged_tasks(only_runs) as t
      union all
      select 'task without a message', t.flow_slug, t.run_id, t.step_slug, t.task_index, t.queue_name, null
      from pgflow_mp._tasks_without_message(only_runs) as t
      union all
      select s.damage, s.flow_slug, s.run_id, s.step_slug, null, null, null
      from pgflow_mp._damaged_steps(only_runs) as s
      union all
      select r.damage, r.flow_slug, r.run_id, null, null, null, null
      from pgflow_mp._damaged_runs(only_runs) as r
      union all
      select 'message without a task', null, null, null, null, m.queue_name, m.message_id
      from pgflow_mp._messages_without_task() as m
    ) as found (damage, flow_slug, run_id, step_slug, task_index, queue_name, message_id)
    order by 1, 3, 4, 5, 6, 7, 8;
end;
$$;
