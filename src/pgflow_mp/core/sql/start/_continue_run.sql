-- Starts a run with the input of another one, whose `kept` steps have ended already as they did there; then everything
-- that can go on at once. Sizes of map steps whose parent is kept: as in _release_children (core CT-6, 3.9.7).
create or replace function pgflow_mp._continue_run(origin pgflow.runs, kept text[], new_run_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
declare
  -- Apart from the statement, in which the planner would take the length of whatever the input is.
  input_size constant int := case jsonb_typeof(origin.input) when 'array' then jsonb_array_length(origin.input) end;
begin
  insert into pgflow.runs (run_id, flow_slug, input, remaining_steps)
  select new_run_id, origin.flow_slug, origin.input, count(*) filter (where s.step_slug <> all (kept))
  from pgflow.steps as s
  where s.flow_slug = origin.flow_slug;

  insert into pgflow.step_states (
    flow_slug, run_id, step_slug, status, output, skip_reason, remaining_deps, initial_tasks, remaining_tasks,
    started_at, completed_at, skipped_at)
  select
    s.flow_slug, new_run_id, s.step_slug,
    coalesce(ended.status, 'created'),
    ended.output,
    ended.skip_reason,
    case when ended.status is null then parents.open else 0 end,
    case when ended.status is null then size.tasks else ended.initial_tasks end,
    case when ended.status = 'completed' then 0 end,
    case when ended.status = 'completed' then now() end,
    case when ended.status = 'completed' then now() end,
    case when ended.status = 'skipped' then now() end
  from pgflow.steps as s
  left join pgflow.step_states as ended
    on ended.run_id = origin.run_id and ended.step_slug = s.step_slug and s.step_slug = any (kept)
  cross join lateral (
    select
      count(*) filter (where d.dep_slug <> all (kept)) as open,
      max(
        case
          when parent.status = 'skipped' then 0
          when parent_step.step_type = 'map' then parent.initial_tasks
          when jsonb_typeof(parent.output) = 'array' then jsonb_array_length(parent.output)
        end
      ) filter (where d.dep_slug = any (kept)) as size
    from pgflow.deps as d
    join pgflow.steps as parent_step on parent_step.flow_slug = d.flow_slug and parent_step.step_slug = d.dep_slug
    left join pgflow.step_states as parent on parent.run_id = origin.run_id and parent.step_slug = d.dep_slug
    where d.flow_slug = s.flow_slug
      and d.step_slug = s.step_slug
  ) as parents
  cross join lateral (
    select
      case
        when s.step_type = 'single' then 1
        when s.deps_count = 0 then input_size
        else parents.size
      end as tasks
  ) as size
  where s.flow_slug = origin.flow_slug
  order by s.step_index;

  if pgflow_mp._events_wanted() then
    perform pgflow_mp._send_run_events('run:started', array[new_run_id]);
  end if;
  perform pgflow_mp._advance_runs(array[new_run_id], strict => false);
end;
$$;
