-- A stored condition as a shape writes it. Rule: core 6.
create or replace function pgflow_mp._pattern_to_shape(pattern jsonb)
returns jsonb
language sql
immutable
parallel safe
set search_path = ''
as $$
  select case
    when pattern is null then '{"defined": false}'::jsonb
    else jsonb_build_object('defined', true, 'value', pattern)
  end;
$$;
