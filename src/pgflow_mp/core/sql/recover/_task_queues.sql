-- The queues that tasks may be in; one whose table is missing is left out.
create or replace function pgflow_mp._task_queues()
returns setof text
language plpgsql
stable
set search_path = ''
as $$
begin
  return query
    select route.queue_name
    from (select distinct s.queue_name from pgflow.steps as s) as route
    where to_regclass(format('pgmq.%I', pgmq.format_table_name(route.queue_name, 'q'))) is not null
    order by route.queue_name;
end;
$$;
