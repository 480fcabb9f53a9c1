-- The queues of a flow: the routes of its steps, and the flow's own one unless its steps have theirs.
-- Rules: generations QI-6, SM-4.
create or replace function pgflow_mp._flow_queues(flow_slug text)
returns table (queue_name text)
language sql
stable
set search_path = ''
as $$
  select s.queue_name
  from pgflow.steps as s
  where s.flow_slug = _flow_queues.flow_slug
  union
  select lower(f.flow_slug)
  from pgflow.flows as f
  where f.flow_slug = _flow_queues.flow_slug
    and f.queue_mode = 'flow';
$$;
