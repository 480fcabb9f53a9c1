-- The one way in which runs come into being: run rows, step states, events, then everything that can go on at
-- once.
--
-- Rules: core 3.6. Ids that we make are time-ordered and ascend with the inputs (D-9), so that messages of
-- earlier inputs come first. When nothing but starting can happen to the root steps (no condition, no empty map),
-- their states are inserted as started right away: a short cut for the usual case that leaves the same rows,
-- events and messages.
create or replace function pgflow_mp._start_runs(flow_slug text, inputs jsonb[], run_ids uuid[], strict boolean)
returns setof pgflow.runs
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  ids uuid[];
  step_count int;
  root_maps boolean;
  root_conditions boolean;
  at_once boolean;
  bad_input jsonb;
  started_runs uuid[];
  started_steps text[];
begin
  select
    count(*),
    coalesce(bool_or(s.deps_count = 0 and s.step_type = 'map'), false),
    coalesce(bool_or(
      s.deps_count = 0 and (s.required_input_pattern is not null or s.forbidden_input_pattern is not null)), false)
  into step_count, root_maps, root_conditions
  from pgflow.steps as s
  where s.flow_slug = _start_runs.flow_slug;
  at_once := step_count > 0 and not root_conditions;

  if root_maps then
    for bad_input in
      select given.input from unnest(inputs) as given (input)
      where jsonb_typeof(given.input) is distinct from 'array'
      limit 1
    loop
      if bad_input is null then
        raise exception 'Flow % has root map steps but input is NULL', _start_runs.flow_slug;
      end if;
      raise exception 'Flow % has root map steps but input is not an array (got %)',
        _start_runs.flow_slug, jsonb_typeof(bad_input);
    end loop;
    at_once := at_once and not '[]' = any(inputs);
  end if;

  if cardinality(run_ids) = cardinality(inputs) and array_position(run_ids, null) is null then
    ids := nullif(run_ids, '{}');
  else
    select array_agg(coalesce(given.run_id, made.run_id) order by made.place)
    into ids
    from pgflow_mp._time_ordered_uuids(cardinality(inputs)) with ordinality as made (run_id, place)
    left join lateral (select _start_runs.run_ids[made.place] as run_id) as given on true;
  end if;
  if ids is null then
    return;
  end if;

  insert into pgflow.runs (run_id, flow_slug, input, remaining_steps)
  select given.run_id, _start_runs.flow_slug, given.input, step_count
  from unnest(ids, inputs) with ordinality as given (run_id, input, place)
  order by given.place;

  with state as (
    insert into pgflow.step_states (
      flow_slug, run_id, step_slug, status, remaining_deps, initial_tasks, remaining_tasks, started_at)
    select
      s.flow_slug, given.run_id, s.step_slug, root.status, s.deps_count, size.tasks,
      case root.status when 'started' then size.tasks end,
      case root.status when 'started' then now() end
    from unnest(ids, inputs) with ordinality as given (run_id, input, place)
    cross join pgflow.steps as s
    cross join lateral (
      select case when at_once and s.deps_count = 0 then 'started' else 'created' end as status
    ) as root
    cross join lateral (
      select
        case
          when s.step_type = 'single' then 1
          when s.deps_count = 0 then jsonb_array_length(given.input)
        end as tasks
    ) as size
    where s.flow_slug = _start_runs.flow_slug
    order by given.place, s.step_index
    returning run_id, step_slug, status
  )
  select array_agg(run_id order by run_id, step_slug), array_agg(step_slug order by run_id, step_slug)
  into started_runs, started_steps
  from state
  where status = 'started';

  if pgflow_mp._events_wanted() then
    perform pgflow_mp._send_run_events('run:started', ids);
  end if;
  if at_once then
    perform pgflow_mp._enqueue_tasks(started_runs, started_steps);
  else
    perform pgflow_mp._advance_runs(ids, strict);
  end if;

  return query
    select r.*
    from unnest(ids) with ordinality as given (run_id, place)
    cross join lateral (select own.* from pgflow.runs as own where own.run_id = given.run_id offset 0) as r
    order by given.place;
end;
$$;
