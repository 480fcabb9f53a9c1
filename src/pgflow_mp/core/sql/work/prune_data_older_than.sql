-- Deletes what ended, and workers that were last heard of, longer ago than the interval: of all flows (NULL) or of
-- those named. Returns the number of workers, tasks, step states and runs deleted: the four counts of generations
-- 7.1, which names none, in the order in which core 6.5.3 deletes. Messages of those runs go with them, and archived
-- messages of that age.
-- A worker that may be alive keeps its row, whatever the interval (SU-7): it would take the loss for an order to stop.
-- Rules: core 6.5.3; generations 7.1 (called by position), 9.2 row 6 (no default), SU-7.
create or replace function pgflow.prune_data_older_than(
  p_retention_interval interval,
  p_flow_slugs text[],
  out workers_deleted bigint,
  out tasks_deleted bigint,
  out states_deleted bigint,
  out runs_deleted bigint
)
language plpgsql
set search_path = ''
as $$
declare
  cutoff constant timestamptz := now() - p_retention_interval;
  old_runs uuid[];
  queue text;
begin
  delete from pgflow.workers as w
  where w.last_heartbeat_at < cutoff
    and (w.stopped_at is not null or w.last_heartbeat_at < now() - interval '1 minute')
    and (
      p_flow_slugs is null
      or lower(w.queue_name) in (
        select q.queue_name
        from unnest(p_flow_slugs) as f (slug)
        cross join lateral pgflow_mp._flow_queues(f.slug) as q
      )
    );
  get diagnostics workers_deleted = row_count;

  old_runs := array(
    select r.run_id
    from pgflow.runs as r
    where coalesce(r.completed_at, r.failed_at) < cutoff
      and (p_flow_slugs is null or r.flow_slug = any (p_flow_slugs))
    order by r.run_id
    for update
  );
  select d.tasks, d.states, d.runs
  into tasks_deleted, states_deleted, runs_deleted
  from pgflow_mp._delete_runs(old_runs) as d;

  for queue in
    select distinct q.queue_name
    from pgflow.flows as f
    cross join lateral pgflow_mp._flow_queues(f.flow_slug) as q
    where (p_flow_slugs is null or f.flow_slug = any (p_flow_slugs))
      and pgflow_mp._queue_is_listed(q.queue_name)
    order by q.queue_name
  loop
    execute format('delete from pgmq.%I where archived_at < $1', pgmq.format_table_name(queue, 'a')) using cutoff;
  end loop;
end;
$$;
