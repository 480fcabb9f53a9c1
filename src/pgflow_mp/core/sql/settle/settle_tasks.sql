-- Settles many tasks of any runs in one round trip; see _settle_tasks for what each argument and each result
-- means.
--
-- One bad outcome never fails its batch (D-6): when the batch as a whole is refused (a value too large to be
-- stored, a queue that somebody dropped, ...), its outcomes are applied one by one. One that is refused on its
-- own becomes a failure of its task, for good; if even that is refused, the task stays as it is, applied is
-- false, and a warning tells why.
-- Errors that say nothing about the data (a deadlock, a lost connection, a full disk) are raised: nothing was
-- applied.
create or replace function pgflow_mp.settle_tasks(
  run_ids uuid[], step_slugs text[], task_indexes int[], attempts int[], worker_ids uuid[],
  outputs jsonb[], errors text[], retryable boolean[], retry_delays double precision[] default null
)
returns table (
  run_id uuid, step_slug text, task_index int, applied boolean, task_status text, step_status text, run_status text
)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  i int;
begin
  begin
    return query select * from pgflow_mp._settle_tasks(
      run_ids, step_slugs, task_indexes, attempts, worker_ids, outputs, errors, retryable, strict => false,
      retry_delays => retry_delays);
    return;
  exception
    when data_exception or integrity_constraint_violation or program_limit_exceeded or raise_exception
      or undefined_table
    then null;
  end;

  -- The locks of the batch went with it; taken one by one in the order of the outcomes they could meet another batch's.
  perform from pgflow.runs as r
  where r.run_id = any(settle_tasks.run_ids)
  order by r.run_id
  for update;
  for i in 1 .. coalesce(cardinality(run_ids), 0) loop
    return query select * from pgflow_mp._settle_one_task(
      run_ids[i], step_slugs[i], task_indexes[i], attempts[i], worker_ids[i], outputs[i], errors[i], retryable[i],
      retry_delays[i]);
  end loop;
end;
$$;
