-- Cancels those of the given runs that are still going, and returns their ids: the run failed with the error
-- `Run cancelled`, its open tasks are cancelled and their messages archived, nothing of it starts any more (D-20;
-- generations 2.4). Workers are told at commit (pgflow_mp_cancelled) and find out by asking (lost_tasks); what they
-- settle late changes nothing. A run that has ended stays as it is. Locks: D-2.
-- Runs with its owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.cancel_runs(run_ids uuid[])
returns setof uuid
language plpgsql
security definer
set search_path = ''
as $$
declare
  going uuid[] := array(
    select r.run_id
    from pgflow.runs as r
    where r.run_id = any (cancel_runs.run_ids)
      and r.status = 'started'
    order by r.run_id
    for update
  );
begin
  insert into pgflow_mp.runs as ours (run_id, cancelled_at)
  select g, now() from unnest(going) as g
  on conflict on constraint runs_pkey do update set cancelled_at = excluded.cancelled_at;

  perform pgflow_mp._fail_runs(
    going,
    array_fill(null::text, array[cardinality(going)]),
    array_fill('Run cancelled'::text, array[cardinality(going)])
  );
  perform pgflow_mp._notify('pgflow_mp_cancelled', going::text[]);
  return query select * from unnest(going);
end;
$$;
