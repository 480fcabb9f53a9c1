-- Raises when the routes that a worker sends are not those that its shape gives. Rule: generations 5.6.2.
create or replace function pgflow_mp._assert_route_map(flow_slug text, supplied jsonb, derived jsonb)
returns void
language plpgsql
immutable
set search_path = ''
as $$
declare
  disagreement record;
begin
  if jsonb_array_length(supplied) <> jsonb_array_length(derived) then
    raise exception 'supplied route map for flow "%" has % entries but % step(s) was derived',
      flow_slug, jsonb_array_length(supplied), jsonb_array_length(derived);
  end if;
  select d.place, d.route as derived_route, supplied -> (d.place - 1)::int as supplied_route
  into disagreement
  from jsonb_array_elements(derived) with ordinality as d (route, place)
  where (supplied -> (d.place - 1)::int ->> 'stepSlug', supplied -> (d.place - 1)::int ->> 'queueName')
    is distinct from (d.route ->> 'stepSlug', d.route ->> 'queueName')
  order by d.place
  limit 1;
  if found then
    raise exception 'supplied route map for flow "%" disagrees with the derived route at position %',
      flow_slug, disagreement.place
      using detail = format(
        'Supplied %s -> %s, derived %s -> %s.',
        disagreement.supplied_route ->> 'stepSlug', disagreement.supplied_route ->> 'queueName',
        disagreement.derived_route ->> 'stepSlug', disagreement.derived_route ->> 'queueName'
      );
  end if;
end;
$$;
