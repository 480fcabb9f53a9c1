-- The queues that tasks may be in and that hold a message. One whose table is missing is left out, and so is one that this
-- role may not work on: beside a core of somebody else its owner makes new ones at any time, and those must not be in the
-- way of all others. What else is done for a queue takes milliseconds for the planning alone, so of a thousand flows the idle
-- ones are sorted out here.
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
    continue when not coalesce(
      has_table_privilege(to_regclass(format('pgmq.%I', place.table_name)), 'delete'), false);
    execute format('select exists (select from pgmq.%I)', place.table_name) into has_messages;
    if has_messages then
      return next place.queue_name;
    end if;
  end loop;
end;
$$;
