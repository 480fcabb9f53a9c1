-- Those of these flows on which a worker works at the moment that is none of `own_workers`, of whatever language. One that has
-- been silent for longer than `silent` seconds does not count.
create or replace function pgflow_mp.flows_of_other_workers(
  flow_slugs text[], own_workers uuid[], silent double precision
)
returns setof text
language sql
stable
set search_path = ''
as $$
  select distinct s.flow_slug
  from pgflow.steps as s
  join pgflow.workers as w on lower(w.queue_name) = s.queue_name
  where s.flow_slug = any (flow_slugs)
    and w.worker_id <> all (own_workers)
    and w.stopped_at is null
    and w.deprecated_at is null
    and w.last_heartbeat_at > now() - make_interval(secs => flows_of_other_workers.silent);
$$;
