-- Mends one kind of damage, in all the places given. The caller holds the locks of the runs.
create or replace function pgflow_mp._mend(
  damage text, run_ids uuid[], step_slugs text[], task_indexes int[], queue_names text[], message_ids bigint[]
)
returns void
language plpgsql
set search_path = ''
as $$
begin
  case damage
    when 'missing queue' then
      perform pgmq.create(queue_name) from (select distinct unnest(queue_names) as queue_name) as missing;
    when 'open task of an ended step' then
      perform pgflow_mp._end_open_tasks(
          case s.status when 'skipped' then 'skipped' else 'cancelled' end, array[s.run_id], array[s.step_slug])
      from (
        select distinct given.run_id, given.step_slug
        from unnest(_mend.run_ids, _mend.step_slugs) as given (run_id, step_slug)
      ) as given
      join pgflow.step_states as s on s.run_id = given.run_id and s.step_slug = given.step_slug;
    when 'open task of an ended run' then
      perform pgflow_mp._end_open_tasks('cancelled', array(select distinct unnest(run_ids) order by 1));
    when 'task of a step not started' then
      perform pgflow_mp._delete_tasks(run_ids, step_slugs, task_indexes);
    when 'wrong counter' then
      perform pgflow_mp._count_again(run_ids);
    when 'map without a size' then
      perform pgflow_mp._size_again(run_ids, step_slugs);
    when 'failed step of a live run' then
      perform pgflow_mp._fail_runs(array[s.run_id], null, array[s.error_message])
      from (
        select distinct on (given.run_id) given.run_id, given.step_slug
        from unnest(_mend.run_ids, _mend.step_slugs) as given (run_id, step_slug)
        order by given.run_id, given.step_slug
      ) as given
      join pgflow.step_states as s on s.run_id = given.run_id and s.step_slug = given.step_slug;
    when 'task given up', 'failed task of a live step' then
      perform pgflow_mp._settle_again(run_ids, step_slugs, task_indexes);
    when 'step without open tasks' then
      perform pgflow_mp._settle_again(
        run_ids, step_slugs,
        array(
          select s.initial_tasks - 1
          from unnest(_mend.run_ids, _mend.step_slugs) with ordinality as given (run_id, step_slug, place)
          join pgflow.step_states as s on s.run_id = given.run_id and s.step_slug = given.step_slug
          order by given.place
        )
      );
    when 'missing task' then
      insert into pgflow.step_tasks (flow_slug, run_id, step_slug, task_index, queue_name)
      select r.flow_slug, given.run_id, given.step_slug, given.task_index, st.queue_name
      from unnest(_mend.run_ids, _mend.step_slugs, _mend.task_indexes) as given (run_id, step_slug, task_index)
      join pgflow.runs as r on r.run_id = given.run_id
      join pgflow.steps as st on st.flow_slug = r.flow_slug and st.step_slug = given.step_slug;
    when 'task without a message' then
      perform pgflow_mp._send_again(run_ids, step_slugs, task_indexes);
    when 'ready step that was not started', 'run without open steps' then
      perform pgflow_mp._advance_runs(array(select distinct unnest(run_ids) order by 1), strict => false);
    when 'message without a task' then
      perform pgflow_mp._archive_messages(queue_names, message_ids);
  end case;
end;
$$;
