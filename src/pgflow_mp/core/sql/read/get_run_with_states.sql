-- A run and the states of its steps in definition order: {run, steps}; NULL for an unknown run.
-- Runs with the owner's rights, so that a caller needs none on the tables. Rules: core 3.7.1, 3.7.3.
create or replace function pgflow.get_run_with_states(run_id uuid)
returns jsonb
language sql
security definer
set search_path = ''
as $$
  select jsonb_build_object(
    'run', to_jsonb(r),
    'steps', coalesce(
      (
        select jsonb_agg(to_jsonb(st) order by s.step_index)
        from pgflow.step_states as st
        join pgflow.steps as s using (flow_slug, step_slug)
        where st.run_id = r.run_id
      ),
      '[]'
    )
  )
  from pgflow.runs as r
  where r.run_id = get_run_with_states.run_id;
$$;
