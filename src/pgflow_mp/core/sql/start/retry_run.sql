-- Starts a run that repeats one that has ended: with its input, and with from_failed also with what its steps have
-- achieved. A new row of pgflow_mp.runs says what it repeats. Returns the new run and what came of the wish: `started`,
-- `unknown` (no such run), `going` (it has not ended), or `completed` (nothing failed: from_failed has nothing to repeat).
-- from_failed keeps a step that completed, or was skipped for another reason than its handler's failure, if all that it
-- depends on is kept as well; it is completed (skipped) from the start, with its output and without tasks. All other
-- steps start anew, conditions are judged again.
-- Runs with the owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.retry_run(old_run_id uuid, from_failed boolean, new_run_id uuid)
returns table (
  outcome text, flow_slug text, run_id uuid, status text, started_at timestamptz, ended_at timestamptz
)
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
  origin pgflow.runs;
begin
  -- The row stays until we are done; one that has ended does not change.
  select * into origin from pgflow.runs as r where r.run_id = old_run_id for key share;
  outcome := case
    when origin.run_id is null then 'unknown'
    when origin.status = 'started' then 'going'
    when origin.status = 'completed' and retry_run.from_failed then 'completed'
    else 'started'
  end;
  case
    when outcome <> 'started' then null;
    when retry_run.from_failed then
      perform pgflow_mp._continue_run(origin, pgflow_mp._kept_steps(origin), new_run_id);
    else
      perform pgflow_mp.start_flows(origin.flow_slug, array[origin.input], array[new_run_id]);
  end case;
  if outcome = 'started' then
    insert into pgflow_mp.runs (run_id, retry_of) values (new_run_id, origin.run_id);
  end if;
  return query
    select outcome, origin.flow_slug, r.run_id, r.status, r.started_at, coalesce(r.completed_at, r.failed_at)
    from (select) as one
    left join pgflow.runs as r on outcome = 'started' and r.run_id = retry_run.new_run_id;
end;
$$;
