-- One writer of a flow's definition at a time, until the transaction ends. A core before 0.17 locks the slug as it is
-- written, later ones and we its lower case, in which two spellings share a queue: both locks (generations QI-7).
create or replace function pgflow_mp._lock_definition(flow_slug text)
returns void
language sql
set search_path = ''
as $$
  select pg_advisory_xact_lock(1, hashtext(lower(flow_slug)));
  select pg_advisory_xact_lock(1, hashtext(flow_slug));
$$;
