-- The time by which starts are scheduled: the database's, so that all workers and clients agree on it, and the time now,
-- not that of the transaction. A function of its own, so that tests can have another time (flow_runner.travel).
create or replace function pgflow_mp._clock()
returns timestamptz
language sql
volatile
set search_path = ''
as $$
  select clock_timestamp();
$$;
