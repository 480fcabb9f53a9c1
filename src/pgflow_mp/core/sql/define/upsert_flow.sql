-- Makes a flow from plain data, or makes it what the data say; answers like compile_flow. The status is compiled (new),
-- verified (the same definition: no run is touched) or recompiled: with any difference, an option too, or if forced,
-- the flow is deleted with all its runs and made anew (D-17).
-- steps: what workers need to know of each step beyond that (table dynamic_flows); a change of it alone touches no run and
-- is told among options_changed. Workers of dynamic flows are notified, on channel pgflow_mp_flows.
create or replace function pgflow_mp.upsert_flow(flow_slug text, shape jsonb, steps jsonb, force boolean default false)
returns jsonb
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  stored_mode text;
  steps_before jsonb;
  differences text[] := '{}';
  options_changed text[] := '{}';
  queues_restored text[] := '{}';
  status text := 'verified';
begin
  perform pgflow_mp._lock_definition(upsert_flow.flow_slug);
  select f.queue_mode, d.steps into stored_mode, steps_before
  from pgflow.flows as f
  left join pgflow_mp.dynamic_flows as d on d.flow_slug = f.flow_slug
  where f.flow_slug = upsert_flow.flow_slug;
  perform pgflow._derive_queue_routes(upsert_flow.flow_slug, shape, coalesce(stored_mode, 'flow'));

  if stored_mode is null then
    perform pgflow._create_flow_from_shape(upsert_flow.flow_slug, shape, 'flow');
    status := 'compiled';
  else
    differences := pgflow._compare_flow_shapes(shape, pgflow._get_flow_shape(upsert_flow.flow_slug));
    if cardinality(differences) = 0 then  -- options are compared step by step, so the steps have to be the same
      differences := pgflow_mp._option_differences(upsert_flow.flow_slug, shape);
    end if;
    queues_restored := pgflow_mp._restore_queues(upsert_flow.flow_slug);
    if force or cardinality(differences) > 0 then
      perform pgflow_mp._make_anew(upsert_flow.flow_slug, shape, stored_mode);
      status := 'recompiled';
      queues_restored := '{}';
    elsif steps_before is distinct from upsert_flow.steps then
      options_changed := array(
        select format('step %s is done by: %s -> %s', step_slug, coalesce(was, 'nothing of its own'), coalesce(is_now, 'nothing of its own'))
        from (
          select
            coalesce(old.key, new.key) as step_slug, old.value::text as was, new.value::text as is_now
          from jsonb_each(steps_before) as old
          full join jsonb_each(upsert_flow.steps) as new on new.key = old.key
        ) as step
        where was is distinct from is_now
        order by step_slug
      );
    end if;
  end if;

  insert into pgflow_mp.dynamic_flows as d (flow_slug, steps)
  values (upsert_flow.flow_slug, upsert_flow.steps)
  on conflict on constraint dynamic_flows_pkey do update
  set revision = nextval('pgflow_mp.dynamic_revision'),
      steps = excluded.steps
  where d.steps is distinct from excluded.steps;
  if status <> 'verified' or steps_before is distinct from upsert_flow.steps then
    perform pg_notify('pgflow_mp_flows', '');
  end if;
  return jsonb_build_object(
    'status', status, 'differences', differences, 'options_changed', options_changed,
    'options_left', '[]'::jsonb, 'queues_restored', queues_restored, 'schedules_changed', '[]'::jsonb
  );
end;
$$;
