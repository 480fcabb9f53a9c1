-- The output of a step in a run; NULL until it completed. Rule: generations 7.1.
create or replace function pgflow.get_step_output(p_run_id uuid, p_step_slug text)
returns jsonb
language sql
stable
set search_path = ''
as $$
  select s.output from pgflow.step_states as s where s.run_id = p_run_id and s.step_slug = p_step_slug;
$$;
