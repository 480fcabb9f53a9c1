-- Flows as they are stored, by slug: one object each with the columns of the flow and `steps`, the columns of its
-- steps in definition order with their parents as `deps`. NULL asks for all flows, else for those named.
-- Runs with the owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.flow_details(flow_slugs text[] default null)
returns setof jsonb
language sql
stable
security definer
set search_path = ''
as $$
  select to_jsonb(f) || jsonb_build_object(
    'steps', coalesce(
      (
        select jsonb_agg(
          to_jsonb(s) || jsonb_build_object(
            'deps', array(
              select d.dep_slug
              from pgflow.deps as d
              join pgflow.steps as parent on parent.flow_slug = d.flow_slug and parent.step_slug = d.dep_slug
              where d.flow_slug = s.flow_slug and d.step_slug = s.step_slug
              order by parent.step_index
            )
          )
          order by s.step_index
        )
        from pgflow.steps as s
        where s.flow_slug = f.flow_slug
      ),
      '[]'
    )
  )
  from pgflow.flows as f
  where flow_slugs is null or f.flow_slug = any (flow_slugs)
  order by f.flow_slug collate "C";
$$;
