-- The output of a run: slug -> output over its completed leaf steps, SQL NULL when there is none (core 3.12.2).
create or replace function pgflow_mp._leaf_outputs(run_id uuid, flow_slug text)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
  outputs jsonb;
begin
  select jsonb_object_agg(s.step_slug, coalesce(s.output, 'null'))
  into outputs
  from pgflow.step_states as s
  where s.run_id = _leaf_outputs.run_id
    and s.status = 'completed'
    and not exists (
      select from pgflow.deps as d
      where d.flow_slug = _leaf_outputs.flow_slug
        and d.dep_slug = s.step_slug
    );
  return outputs;
end;
$$;
