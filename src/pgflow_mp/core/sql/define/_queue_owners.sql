-- The flows that use a queue: as a route of one of their steps, or as the queue of the whole flow.
-- Rule: generations PV-1.
create or replace function pgflow_mp._queue_owners(queue_name text)
returns table (flow_slug text)
language sql
stable
set search_path = ''
as $$
  select s.flow_slug
  from pgflow.steps as s
  where s.queue_name = lower(_queue_owners.queue_name)
  union
  select f.flow_slug
  from pgflow.flows as f
  where f.queue_mode = 'flow'
    and lower(f.flow_slug) = lower(_queue_owners.queue_name);
$$;
