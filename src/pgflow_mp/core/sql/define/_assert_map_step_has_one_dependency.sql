-- A map step runs over the array of one parent, or over the run's input. Rule: core 3.5.2 (duplicates count here).
create or replace function pgflow_mp._assert_map_step_has_one_dependency(
  step_slug text,
  step_type text,
  deps_slugs text[]
)
returns void
language plpgsql
immutable
set search_path = ''
as $$
begin
  if step_type = 'map' and cardinality(deps_slugs) > 1 then
    raise exception 'Map step "%" can have at most one dependency, but % were provided: %',
      step_slug, cardinality(deps_slugs), array_to_string(deps_slugs, ', ');
  end if;
end;
$$;
