-- How much waits in the queues of some flows (NULL: of all): messages that a worker could take now, those that are
-- invisible (delayed, waiting for a retry, or with a worker), and how many seconds the one that has been visible for
-- longest has waited, NULL where none is. A queue that somebody dropped is left out. Runs with its owner's rights:
-- clients may ask (D-11).
create or replace function pgflow_mp.queue_depths(flow_slugs text[] default null)
returns table (flow_slug text, queue_name text, ready bigint, invisible bigint, oldest_seconds double precision)
language plpgsql
stable
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
  place record;
begin
  for place in
    select f.flow_slug, own.queue_name, pgmq.format_table_name(own.queue_name, 'q') as table_name
    from pgflow.flows as f
    cross join lateral pgflow_mp._flow_queues(f.flow_slug) as own
    where queue_depths.flow_slugs is null or f.flow_slug = any(queue_depths.flow_slugs)
    order by f.flow_slug, own.queue_name
  loop
    continue when to_regclass(format('pgmq.%I', place.table_name)) is null;
    return query execute format(
      $query$
        select $1, $2,
          count(*) filter (where q.vt <= clock_timestamp()),
          count(*) filter (where q.vt > clock_timestamp()),
          extract(epoch from clock_timestamp() - min(q.vt) filter (where q.vt <= clock_timestamp()))::double precision
        from pgmq.%I as q
      $query$,
      place.table_name
    ) using place.flow_slug, place.queue_name;
  end loop;
end;
$$;
