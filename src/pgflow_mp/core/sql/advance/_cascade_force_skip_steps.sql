-- Skips a step of a run and all that depend on it; returns how many were skipped by this call (core 3.11).
create or replace function pgflow._cascade_force_skip_steps(run_id uuid, step_slug text, skip_reason text)
returns int
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
begin
  perform from pgflow.runs as r where r.run_id = _cascade_force_skip_steps.run_id for update;
  if not found then
    raise exception 'Run not found: %', _cascade_force_skip_steps.run_id;
  end if;
  return pgflow_mp._force_skip_steps(
    array[_cascade_force_skip_steps.run_id], array[_cascade_force_skip_steps.step_slug],
    _cascade_force_skip_steps.skip_reason);
end;
$$;
