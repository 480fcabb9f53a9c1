-- Routes for a person: [step -> queue, ...]. Rule: generations 5.6.4.
create or replace function pgflow_mp._routes_as_text(routes jsonb)
returns text
language sql
immutable
set search_path = ''
as $$
  select format('[%s]', string_agg(format('%s -> %s', r.route ->> 'stepSlug', r.route ->> 'queueName'), ', '
    order by r.place))
  from jsonb_array_elements(routes) with ordinality as r (route, place);
$$;
