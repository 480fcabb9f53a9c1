-- Makes the queues of a flow whose tables are gone again, empty, and returns their names. While nothing is missing it
-- takes no right at all (D-11): it looks into the catalog. Messages that were in a lost queue come back by
-- pgflow_mp.repair. Rule: core 3.4.3, for a queue that pgmq still lists too.
create or replace function pgflow_mp._restore_queues(flow_slug text)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  missing constant text[] := pgflow_mp._missing_queues(_restore_queues.flow_slug);
begin
  perform pgmq.create(q) from unnest(missing) as q;
  return missing;
end;
$$;
