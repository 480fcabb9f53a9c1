-- Raises when a part of the hosted platform is not in this database, and says which and for what.
-- 3F000, as a call into the missing schema would (core 1.5).
create or replace function pgflow_mp._assert_platform_part(part text, needed_by text, is_there boolean)
returns void
language plpgsql
immutable
set search_path = ''
as $$
begin
  if not is_there then
    raise exception '% needs %, which this database does not have', needed_by, part
      using errcode = 'invalid_schema_name',
        hint = 'Nothing else needs it: workers of pgflow-mp start and recover tasks by themselves.';
  end if;
end;
$$;
