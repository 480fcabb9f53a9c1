-- A map child that will take its size from this single step's output; NULL when the step is no single step or has
-- no such child. With one, an output that is no array is a type violation (core CT-4).
create or replace function pgflow_mp._child_awaiting_array(run_id uuid, flow_slug text, step_slug text)
returns text
language plpgsql
stable
set search_path = ''
as $$
begin
  return (
    select d.step_slug
    from pgflow.deps as d
    join pgflow.steps as child
      on child.flow_slug = d.flow_slug and child.step_slug = d.step_slug and child.step_type = 'map'
    join pgflow.steps as parent
      on parent.flow_slug = d.flow_slug and parent.step_slug = d.dep_slug and parent.step_type = 'single'
    join pgflow.step_states as s
      on s.run_id = _child_awaiting_array.run_id and s.step_slug = d.step_slug and s.initial_tasks is null
    where d.flow_slug = _child_awaiting_array.flow_slug
      and d.dep_slug = _child_awaiting_array.step_slug
    order by child.step_index
    limit 1
  );
end;
$$;
