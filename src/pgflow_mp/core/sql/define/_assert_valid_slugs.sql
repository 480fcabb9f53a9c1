-- Raises for the first bad slug of a definition: the flow's, then its steps' in order. Rule: generations R-3.
create or replace function pgflow_mp._assert_valid_slugs(flow_slug text, step_slugs text[])
returns void
language plpgsql
immutable
set search_path = ''
as $$
declare
  step_slug text;
begin
  if not pgflow.is_valid_slug(flow_slug) then
    raise exception 'Flow slug "%" is not valid.', flow_slug;
  end if;
  foreach step_slug in array step_slugs loop
    if not pgflow.is_valid_slug(step_slug) then
      raise exception 'Step slug "%" in flow "%" is not valid.', step_slug, flow_slug;
    end if;
  end loop;
end;
$$;
