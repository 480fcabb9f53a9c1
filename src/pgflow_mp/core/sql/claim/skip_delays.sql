-- Makes the messages of queued tasks of the given runs visible at once: retry and start delays take no time (for
-- tests). With by: so many seconds earlier.
-- Returns the tasks that were waiting and how many seconds of it they are spared.
-- Locks task rows before their queue rows, as a claim does, and leaves those alone that another session is at work
-- on (D-2).
create or replace function pgflow_mp.skip_delays(run_ids uuid[], by double precision default null)
returns table (run_id uuid, step_slug text, task_index int, seconds double precision)
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  batch record;
  awake text[] := '{}';
begin
  for batch in
    with queued as materialized (
      select t.queue_name, t.run_id, t.step_slug, t.task_index, t.message_id
      from pgflow.step_tasks as t
      where t.run_id = any(skip_delays.run_ids)
        and t.status = 'queued'
      for update skip locked
    )
    select t.queue_name, array_agg(t.run_id) as run_ids, array_agg(t.step_slug) as step_slugs,
      array_agg(t.task_index) as task_indexes, array_agg(t.message_id) as message_ids
    from queued as t
    group by t.queue_name
    order by t.queue_name
  loop
    return query execute format(
      $query$
        with waiting as (
          select given.*, q.vt
          from unnest($1, $2, $3, $4) as given (run_id, step_slug, task_index, message_id)
          join pgmq.%1$I as q on q.msg_id = given.message_id and q.vt > clock_timestamp()
          for update of q
        ),
        moved as (
          update pgmq.%1$I as q
          set vt = coalesce(q.vt - make_interval(secs => $5), clock_timestamp())
          from waiting
          where q.msg_id = waiting.message_id
          returning waiting.*
        )
        select
          moved.run_id, moved.step_slug, moved.task_index,
          greatest(least(extract(epoch from moved.vt - clock_timestamp())::double precision, $5), 0)
        from moved
        order by moved.step_slug, moved.task_index
      $query$,
      pgmq.format_table_name(batch.queue_name, 'q')
    ) using batch.run_ids, batch.step_slugs, batch.task_indexes, batch.message_ids, skip_delays.by;
    if found then
      awake := awake || batch.queue_name;
    end if;
  end loop;
  perform pgflow_mp._notify('pgflow_mp_work', awake);
end;
$$;
