-- Deletes what we know of runs, flows and workers that somebody else has deleted: the sweep calls it, and it looks once in
-- `pause`. Reads of ours join with what is there, so nobody sees these rows in the meantime. What was written with a run
-- is seen only together with it, so a row whose run is not seen has none any more.
create or replace function pgflow_mp._forget_the_gone(pause interval default '1 hour')
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  place record;
  deleted bigint;
  total bigint := 0;
begin
  update pgflow_mp.housekeeping as h
  set forgot_at = clock_timestamp()
  where h.forgot_at is null or h.forgot_at < clock_timestamp() - _forget_the_gone.pause;
  if not found then
    return 0;
  end if;
  for place in
    select *
    from (values
      ('run_keys', 'runs', 'run_id'),
      ('runs', 'runs', 'run_id'),
      ('carriers', 'runs', 'run_id'),
      ('task_progress', 'runs', 'run_id'),
      ('task_requeues', 'runs', 'run_id'),
      ('workers', 'workers', 'worker_id'),
      ('schedules', 'flows', 'flow_slug'),
      ('paused_flows', 'flows', 'flow_slug'),
      ('dynamic_flows', 'flows', 'flow_slug'),
      ('flow_types', 'flows', 'flow_slug')
    ) as place (ours, theirs, key)
  loop
    execute format(
      'delete from pgflow_mp.%1$I as ours where not exists (select from pgflow.%2$I as theirs where theirs.%3$I = ours.%3$I)',
      place.ours, place.theirs, place.key
    );
    get diagnostics deleted = row_count;
    total := total + deleted;
  end loop;
  return total;
end;
$$;
