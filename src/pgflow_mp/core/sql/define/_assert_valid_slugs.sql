-- Raises for the first bad slug of a definition: the flow's, then its steps' in order. Slugs of before the strict rule
-- that are in the tables may stay where leave_existing says so (an adopted schema has them; SU-9).
-- Rules: generations R-3, SU-9.
create or replace function pgflow_mp._assert_valid_slugs(
  flow_slug text,
  step_slugs text[],
  leave_existing boolean default false
)
returns void
language plpgsql
stable
set search_path = ''
as $$
declare
  bad_step text;
begin
  if not pgflow.is_valid_slug(_assert_valid_slugs.flow_slug) and not (
    leave_existing
    and exists (select from pgflow.flows as f where f.flow_slug = _assert_valid_slugs.flow_slug)
  ) then
    raise exception 'Flow slug "%" is not valid.', _assert_valid_slugs.flow_slug;
  end if;

  select given.slug
  into bad_step
  from unnest(step_slugs) with ordinality as given (slug, place)
  where not pgflow.is_valid_slug(given.slug)
    and not (
      leave_existing
      and exists (
        select from pgflow.steps as s
        where s.flow_slug = _assert_valid_slugs.flow_slug
          and s.step_slug = given.slug
      )
    )
  order by given.place
  limit 1;
  if found then
    raise exception 'Step slug "%" in flow "%" is not valid.', bad_step, _assert_valid_slugs.flow_slug;
  end if;
end;
$$;
