-- What came along with tasks: the carrier of the run's caller, and those of the parents' tasks, at most 100, in the order of
-- steps and elements. One row for each given task that has either, with its place.
create or replace function pgflow_mp.carriers_of(flow_slugs text[], run_ids uuid[], step_slugs text[])
returns table (place bigint, run jsonb, parents jsonb)
language sql
stable
set search_path = ''
as $$
  select given.place, own.carrier, came.parents
  from unnest(carriers_of.flow_slugs, carriers_of.run_ids, carriers_of.step_slugs)
    with ordinality as given (flow_slug, run_id, step_slug, place)
  left join pgflow_mp.carriers as own on own.run_id = given.run_id and own.step_slug = ''
  cross join lateral (
    select coalesce(jsonb_agg(left_by.carrier order by left_by.step_slug, left_by.task_index), '[]') as parents
    from (
      select c.step_slug, c.task_index, c.carrier
      from pgflow.deps as d
      join pgflow_mp.carriers as c on c.run_id = given.run_id and c.step_slug = d.dep_slug
      where d.flow_slug = given.flow_slug
        and d.step_slug = given.step_slug
      order by c.step_slug, c.task_index
      limit 100
    ) as left_by
  ) as came
  where own.carrier is not null or came.parents <> '[]';
$$;
