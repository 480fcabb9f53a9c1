-- Starts one run for each input, as start_flows does, whose first tasks begin in delay_seconds, or at scheduled_at. The
-- runs, their tasks and messages are there at once; the messages stay invisible until then. A time that has passed is
-- now. An opt_start_delay of a step comes on top (core 3.8.5). Returns the runs in the order of the inputs.
-- Runs with the owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.enqueue(
  flow_slug text, inputs jsonb[], run_ids uuid[] default null,
  delay_seconds int default 0, scheduled_at timestamptz default null
)
returns setof pgflow.runs
language plpgsql
security definer
set search_path = ''
as $$
declare
  real constant timestamptz := clock_timestamp();
  due constant timestamptz := real
    + coalesce(enqueue.scheduled_at - pgflow_mp._clock(), make_interval(secs => enqueue.delay_seconds));
  started pgflow.runs[];
begin
  perform pgflow_mp._hold_flow(flow_slug);
  started := array(select r from pgflow_mp._start_runs(flow_slug, inputs, run_ids, strict => false) as r);
  if due > real then
    perform pgflow_mp._postpone(array(select r.run_id from unnest(started) as r), due);
  end if;
  return query select * from unnest(started);
end;
$$;
