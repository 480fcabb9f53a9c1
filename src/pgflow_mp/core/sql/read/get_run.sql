-- A run as JSON (see _run_as_json), without its steps; NULL for an unknown run.
-- Runs with the owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.get_run(run_id uuid)
returns jsonb
language sql
stable
security definer
set search_path = ''
as $$
  select pgflow_mp._run_as_json(r) from pgflow.runs as r where r.run_id = get_run.run_id;
$$;
