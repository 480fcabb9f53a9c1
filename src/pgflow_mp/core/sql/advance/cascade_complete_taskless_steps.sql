-- Completes a run's steps without tasks and those that become taskless by it; returns how many (core 3.10).
create or replace function pgflow.cascade_complete_taskless_steps(run_id uuid)
returns int
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
begin
  perform from pgflow.runs as r where r.run_id = cascade_complete_taskless_steps.run_id for update;
  return pgflow_mp._complete_taskless_steps(array[cascade_complete_taskless_steps.run_id], strict => true);
end;
$$;
