-- Settles one task of a batch that was refused as a whole; see settle_tasks. Where not its outcome is to blame but a schema
-- that was changed under these functions (core/drift.py), the error is raised: a table that is no queue's is gone, or a task
-- needs the name of a queue since somebody has upgraded the core (generations 4.1).
create or replace function pgflow_mp._settle_one_task(
  the_run uuid, the_step text, the_index int, attempt int, worker_id uuid, output jsonb, error text, retryable boolean,
  retry_delay double precision
)
returns table (
  run_id uuid, step_slug text, task_index int, applied boolean, task_status text, step_status text, run_status text
)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  refusal text;
  missing text;
begin
  return query select * from pgflow_mp._settle_tasks(
    array[the_run], array[the_step], array[the_index],
    array[attempt], array[worker_id], array[output], array[error], array[retryable], strict => false,
    retry_delays => array[retry_delay]);
exception
  when data_exception or integrity_constraint_violation or program_limit_exceeded or raise_exception
    or undefined_table
  then
    get stacked diagnostics missing = column_name;
    if (sqlstate = '42P01' and sqlerrm !~ 'pgmq\.') or (sqlstate = '23502' and missing = 'queue_name') then
      raise;
    end if;
    refusal := 'The outcome could not be stored: ' || sqlerrm;
    begin
      return query select * from pgflow_mp._settle_tasks(
        array[the_run], array[the_step], array[the_index],
        array[attempt], array[worker_id], null, array[refusal], array[false], strict => false);
    exception
      when data_exception or integrity_constraint_violation or program_limit_exceeded or raise_exception
        or undefined_table
      then
        raise warning 'Task %.%[%] was not settled: %',
          the_run, the_step, the_index, sqlerrm;
        return query
          select
            the_run, the_step, the_index, false, t.status, s.status, r.status
          from (select) as one
          left join pgflow.step_tasks as t
            on t.run_id = the_run
            and t.step_slug = the_step
            and t.task_index = the_index
          left join pgflow.step_states as s on s.run_id = t.run_id and s.step_slug = t.step_slug
          left join pgflow.runs as r on r.run_id = t.run_id;
    end;
end;
$$;
