-- Counts finished parents off their children, and tells map children how many tasks they will have. The given
-- steps are completed or skipped already; a child's counter drops by the number of its parents among them (subtle
-- point 2). Size of a map child: that of a map parent, the length of a single parent's array, 0 after a skip.
-- Rules: core CT-6, 3.9.7, 3.10.2, FT-9. The caller holds the locks of the runs.
create or replace function pgflow_mp._release_children(run_ids uuid[], step_slugs text[])
returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  -- The last steps of a run, and so the only one of a job, have no children: most calls are over here.
  if not exists (
    select
    from pgflow.step_states as parent
    join pgflow.deps as d on d.flow_slug = parent.flow_slug and d.dep_slug = parent.step_slug
    where parent.run_id = any(_release_children.run_ids)
      and parent.step_slug = any(_release_children.step_slugs)
  ) then
    return;
  end if;

  with release as (
    select
      parent.run_id,
      d.step_slug,
      count(*) as parents,
      max(
        case
          when child.step_type <> 'map' then null
          when parent.status = 'skipped' then 0
          when parent_step.step_type = 'map' then parent.initial_tasks
          when jsonb_typeof(parent.output) = 'array' then jsonb_array_length(parent.output)
        end
      ) as size
    from unnest(_release_children.run_ids, _release_children.step_slugs) as given (run_id, step_slug)
    cross join lateral (
      select own.*
      from pgflow.step_states as own
      where own.run_id = given.run_id
        and own.step_slug = given.step_slug
      offset 0
    ) as parent
    join pgflow.deps as d
      on d.flow_slug = parent.flow_slug and d.dep_slug = parent.step_slug
    join pgflow.steps as child
      on child.flow_slug = d.flow_slug and child.step_slug = d.step_slug
    join pgflow.steps as parent_step
      on parent_step.flow_slug = parent.flow_slug and parent_step.step_slug = parent.step_slug
    group by parent.run_id, d.step_slug
  )
  update pgflow.step_states as s
  set remaining_deps = s.remaining_deps - release.parents,
      initial_tasks = coalesce(s.initial_tasks, release.size)
  from release
  cross join lateral (
    select child_state.ctid as tid
    from pgflow.step_states as child_state
    where child_state.run_id = release.run_id
      and child_state.step_slug = release.step_slug
    offset 0
  ) as own
  where s.ctid = own.tid;
end;
$$;
