-- Deletes some of what is older than it shall be kept: of flow i, runs that ended longer ago than keeps[i] (NULL: none)
-- with all that belongs to them, and archived messages of that age. At most batch_size runs with ten times as many tasks
-- (a larger run goes alone), and as many archived messages of each queue; `more` tells whether some may be left.
-- Runs that somebody else holds are passed over. They are found by their start (idx_runs_flow_started): what ended before
-- a time has started before it.
create or replace function pgflow_mp._prune_flows(
  flow_slugs text[], keeps interval[], batch_size int,
  out runs bigint, out states bigint, out tasks bigint, out archived bigint, out more boolean
)
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  place record;
  queue text;
  candidates uuid[];
  old_runs uuid[];
  deleted record;
  found_in_queue bigint;
begin
  runs := 0;
  states := 0;
  tasks := 0;
  archived := 0;
  more := false;
  for place in
    select given.flow_slug, now() - given.keep as cutoff
    from unnest(_prune_flows.flow_slugs, _prune_flows.keeps) as given (flow_slug, keep)
    where given.keep is not null
    order by given.flow_slug
  loop
    candidates := array(
      select r.run_id
      from pgflow.runs as r
      where r.flow_slug = place.flow_slug
        and r.started_at < place.cutoff
        and coalesce(r.completed_at, r.failed_at) < place.cutoff
      order by r.started_at
      limit batch_size - runs
      for update skip locked
    );
    old_runs := array(
      select sized.run_id
      from (
        select c.run_id, c.place, sum(size.tasks) over (order by c.place) - size.tasks as before
        from unnest(candidates) with ordinality as c (run_id, place)
        cross join lateral (
          select coalesce(sum(s.initial_tasks), 0) as tasks from pgflow.step_states as s where s.run_id = c.run_id
        ) as size
      ) as sized
      where sized.before + tasks < 10 * batch_size or sized.place = 1
    );
    if cardinality(old_runs) > 0 then
      select * into deleted from pgflow_mp._delete_runs(old_runs);
      runs := runs + deleted.runs;
      states := states + deleted.states;
      tasks := tasks + deleted.tasks;
      more := more or runs >= batch_size or cardinality(old_runs) < cardinality(candidates);
    end if;

    for queue in
      select q.queue_name from pgflow_mp._flow_queues(place.flow_slug) as q order by q.queue_name
    loop
      continue when not pgflow_mp._queue_is_listed(queue);
      execute format(
        $query$
          delete from pgmq.%1$I as a
          using (select old.ctid as tid from pgmq.%1$I as old where old.archived_at < $1 limit $2) as picked
          where a.ctid = picked.tid
        $query$,
        pgmq.format_table_name(queue, 'a')
      ) using place.cutoff, batch_size;
      get diagnostics found_in_queue = row_count;
      archived := archived + found_in_queue;
      more := more or found_in_queue >= batch_size;
    end loop;
    if runs >= batch_size or tasks >= 10 * batch_size then
      more := true;
      exit;
    end if;
  end loop;
end;
$$;
