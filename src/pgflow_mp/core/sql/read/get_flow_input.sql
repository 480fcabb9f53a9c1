-- The input that a run was started with; NULL for an unknown run. Rule: generations 7.1.
create or replace function pgflow.get_flow_input(p_run_id uuid)
returns jsonb
language sql
stable
set search_path = ''
as $$
  select r.input from pgflow.runs as r where r.run_id = p_run_id;
$$;
