-- The queues that tasks may be in and that hold a message; one whose table is missing is left out. What else is done for a
-- queue takes milliseconds for the planning alone, so of a thousand flows the idle ones are sorted out here.
create or replace function pgflow_mp._task_queues()
returns setof text
language plpgsql
stable
set search_path = ''
as $$
declare
  place record;
  has_messages boolean;
begin
  for place in
    select route.queue_name, pgmq.format_table_name(route.queue_name, 'q') as table_name
    from (select distinct s.queue_name from pgflow.steps as s) as route
    order by route.queue_name
  loop
    continue when to_regclass(format('pgmq.%I', place.table_name)) is null;
    execute format('select exists (select from pgmq.%I)', place.table_name) into has_messages;
    if has_messages then
      return next place.queue_name;
    end if;
  end loop;
end;
$$;
