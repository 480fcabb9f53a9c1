-- The queues of a flow whose tables are gone, of which one is enough. Looks into the catalog, so it takes no right (D-11).
create or replace function pgflow_mp._missing_queues(flow_slug text)
returns text[]
language sql
stable
set search_path = ''
as $$
  select array(
    select q.queue_name
    from pgflow_mp._flow_queues(_missing_queues.flow_slug) as q
    where 2 > (
      select count(*)
      from pg_catalog.pg_class as c
      where c.relnamespace = (select n.oid from pg_catalog.pg_namespace as n where n.nspname = 'pgmq')
        and c.relname in ('q_' || q.queue_name, 'a_' || q.queue_name)
    )
    order by q.queue_name
  );
$$;
