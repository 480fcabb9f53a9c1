-- Claims up to wanted tasks from one queue, oldest message first. Looks at visible messages window by window and
-- leaves it to _claim_messages to start what is claimable among them; stale messages and other claimers' tasks
-- just cost a look. The time is a parameter, so that the index on vt can be used: where nearly all messages are delayed
-- (jobs for later), looking at them in order costs 30 times as much. Only tasks of the named steps; with but_named of all others; NULL for all.
create or replace function pgflow_mp._claim_from_queue(
  flow_slug text, queue_name text, worker_id uuid, wanted int, only_runs uuid[],
  named text[], but_named boolean
)
returns table (
  run_id uuid, step_slug text, task_index int, msg_id bigint, attempt int, timeout int, input jsonb, flow_input jsonb
)
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  look text := format(
    $query$
      select array_agg(seen.msg_id order by seen.msg_id)
      from (
        select q.msg_id
        from pgmq.%1$I as q
        where q.vt <= $6
          and q.msg_id > $1
          and ($2 is null or q.message ->> 'run_id' = any($2))
          and ($4 is null or (q.message ->> 'step_slug' = any($4)) <> $5)
        order by q.msg_id
        limit $3
      ) as seen
    $query$,
    pgmq.format_table_name(queue_name, 'q')
  );
  ids bigint[];
  last_seen bigint := 0;
  size int := wanted;
  claimed int;
begin
  while wanted > 0 loop
    execute look into ids using last_seen, only_runs::text[], size, named, but_named, clock_timestamp();
    exit when ids is null;

    return query
      select c.run_id, c.step_slug, c.task_index, c.msg_id, c.attempt, c.timeout, c.input, c.flow_input
      from pgflow_mp._claim_messages(flow_slug, queue_name, null, ids, worker_id, wanted, only_visible => true) as c;
    get diagnostics claimed = row_count;
    exit when cardinality(ids) < size;
    wanted := wanted - claimed;
    last_seen := ids[cardinality(ids)];
    size := least(greatest(size * 2, 100), 10000);
  end loop;
end;
$$;
