-- Does pgmq have a queue of this name, in any spelling?
create or replace function pgflow_mp._queue_is_listed(queue_name text)
returns boolean
language sql
stable
set search_path = ''
as $$
  select exists (
    select from pgmq.list_queues() as l where lower(l.queue_name) = lower(_queue_is_listed.queue_name)
  );
$$;
