-- What differs between two shapes, as sentences; empty when nothing does. Options are not compared.
-- Rules: core 6.2, texts and order included. A missing key of type or mode counts as equal, a missing pattern as
-- different from an undefined one (6.2.3).
create or replace function pgflow._compare_flow_shapes(p_local jsonb, p_db jsonb)
returns text[]
language plpgsql
stable
set search_path = ''
as $$
declare
  local_steps constant jsonb := coalesce(p_local -> 'steps', '[]');
  db_steps constant jsonb := coalesce(p_db -> 'steps', '[]');
  local_count constant int := jsonb_array_length(local_steps);
  db_count constant int := jsonb_array_length(db_steps);
  differences text[] := '{}';
begin
  if local_count <> db_count then
    differences := differences || format('Step count differs: %s vs %s', local_count, db_count);
  end if;
  for i in 0..greatest(local_count, db_count) - 1 loop
    differences := differences || pgflow_mp._compare_steps(i, local_steps -> i, db_steps -> i);
  end loop;
  return differences;
end;
$$;
