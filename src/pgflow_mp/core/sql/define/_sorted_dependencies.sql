-- The parents that a step of a shape names, in one order; a missing key is none. Rule: core 6.2.3.
create or replace function pgflow_mp._sorted_dependencies(step jsonb)
returns text[]
language sql
immutable
set search_path = ''
as $$
  select array(
    select d
    from jsonb_array_elements_text(coalesce(step -> 'dependencies', '[]')) as d
    order by d collate "C"
  );
$$;
