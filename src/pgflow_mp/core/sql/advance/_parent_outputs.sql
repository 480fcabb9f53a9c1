-- What a step sees of its parents: slug -> stored output of those that completed. A skipped parent has no key, an
-- output of SQL NULL is JSON null, no completed parent gives {} (core 3.9.3, 3.13.3).
create or replace function pgflow_mp._parent_outputs(run_id uuid, flow_slug text, step_slug text)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
  return (
    select coalesce(jsonb_object_agg(d.dep_slug, coalesce(parent.output, 'null')), '{}')
    from pgflow.deps as d
    cross join lateral (
      select own.output
      from pgflow.step_states as own
      where own.run_id = _parent_outputs.run_id
        and own.step_slug = d.dep_slug
        and own.status = 'completed'
      offset 0
    ) as parent
    where d.flow_slug = _parent_outputs.flow_slug
      and d.step_slug = _parent_outputs.step_slug
  );
end;
$$;
