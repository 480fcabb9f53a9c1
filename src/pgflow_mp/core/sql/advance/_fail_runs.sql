-- Fails those of the given runs that are still started; run i by its step i, whose error is error_messages[i].
-- Without step_slugs (or with a NULL in it) no step is to blame. The open tasks of all branches are cancelled and
-- their messages archived; a waiting caller is woken.
-- Rules: core 3.9.6, FT-6 to FT-10, generations 2.4 and TS-2. Order of events: step:failed, run:failed.
-- The caller holds the locks of the runs.
create or replace function pgflow_mp._fail_runs(run_ids uuid[], step_slugs text[], error_messages text[])
returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  failed_runs uuid[];
  failed_steps text[];
  errors text[];
  i int;
begin
  with failed as (
    update pgflow.runs as r
    set status = 'failed',
        failed_at = greatest(now(), r.started_at)
    from unnest(_fail_runs.run_ids, _fail_runs.step_slugs, _fail_runs.error_messages)
      with ordinality as given (run_id, step_slug, error_message, place)
    cross join lateral (
      select own_run.ctid as tid
      from pgflow.runs as own_run
      where own_run.run_id = given.run_id
        and own_run.status = 'started'
      offset 0
    ) as own
    where r.ctid = own.tid
    returning given.*
  )
  select array_agg(run_id order by place), array_agg(step_slug order by place), array_agg(error_message order by place)
  into failed_runs, failed_steps, errors
  from failed;
  if failed_runs is null then
    return;
  end if;

  update pgflow.step_states as s
  set status = 'failed',
      failed_at = greatest(now(), s.created_at, s.started_at),
      error_message = given.error_message
  from unnest(failed_runs, failed_steps, errors) as given (run_id, step_slug, error_message)
  cross join lateral (
    select own_state.ctid as tid
    from pgflow.step_states as own_state
    where own_state.run_id = given.run_id
      and own_state.step_slug = given.step_slug
    offset 0
  ) as own
  where s.ctid = own.tid;

  if pgflow_mp._events_wanted() then
    for i in 1 .. cardinality(failed_runs) loop
      perform pgflow_mp._send_step_events('failed', failed_runs[i:i], failed_steps[i:i]);
      perform pgflow_mp._send_run_events('run:failed', failed_runs[i:i], errors[i:i]);
    end loop;
  end if;
  perform pgflow_mp._end_open_tasks('cancelled', failed_runs);
  perform pgflow_mp._notify('pgflow_mp_runs', failed_runs::text[]);
end;
$$;
