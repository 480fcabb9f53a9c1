-- Says why a run cannot be continued here: a core before 0.14 has no place for what its kept steps have made but tasks of
-- theirs, which the new run does not have.
create or replace function pgflow_mp._continue_run(origin pgflow.runs, kept text[], new_run_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
begin
  raise exception 'run % cannot be retried from its failed steps: the core of this database (before 0.14) keeps outputs with '
    'their tasks only; retry it as a whole, or take the schema over with `pgflow-mp adopt`', origin.run_id;
end;
$$;
