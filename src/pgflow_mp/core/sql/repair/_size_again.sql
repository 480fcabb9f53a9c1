-- Tells maps whose parent has ended how many tasks they have, from what is stored of the parent, or of the run for
-- a root map (core CT-6, 3.6.3, 3.9.7). A parent that made no array leaves its map as it is.
-- The caller holds the locks of the runs.
create or replace function pgflow_mp._size_again(run_ids uuid[], step_slugs text[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  update pgflow.step_states as s
  set initial_tasks = case
    when parent.run_id is null then case jsonb_typeof(r.input) when 'array' then jsonb_array_length(r.input) end
    when parent.status = 'skipped' then 0
    when parent_step.step_type = 'map' then parent.initial_tasks
    when jsonb_typeof(parent.output) = 'array' then jsonb_array_length(parent.output)
  end
  from unnest(_size_again.run_ids, _size_again.step_slugs) as given (run_id, step_slug)
  join pgflow.runs as r on r.run_id = given.run_id
  left join pgflow.deps as d on d.flow_slug = r.flow_slug and d.step_slug = given.step_slug
  left join pgflow.step_states as parent on parent.run_id = given.run_id and parent.step_slug = d.dep_slug
  left join pgflow.steps as parent_step on parent_step.flow_slug = r.flow_slug and parent_step.step_slug = d.dep_slug
  where s.run_id = given.run_id
    and s.step_slug = given.step_slug
    and s.status = 'created'
    and s.initial_tasks is null;
end;
$$;
