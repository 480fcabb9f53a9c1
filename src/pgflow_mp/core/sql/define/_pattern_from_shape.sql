-- A condition of a shape as it is stored; absent or undefined is NULL. Rule: core 6.3.1.
create or replace function pgflow_mp._pattern_from_shape(pattern jsonb)
returns jsonb
language sql
immutable
parallel safe
set search_path = ''
as $$
  select case when (pattern ->> 'defined')::boolean then pattern -> 'value' end;
$$;
