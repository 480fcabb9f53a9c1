-- One writer of a flow's definition at a time, until the transaction ends. Slugs that differ only in case share the
-- lock, as they share a queue. Every definition writer of every language takes this lock: generations QI-7, SU-8.
create or replace function pgflow_mp._lock_definition(flow_slug text)
returns void
language sql
set search_path = ''
as $$
  select pg_advisory_xact_lock(1, hashtext(lower(flow_slug)));
$$;
