-- Makes, verifies or replaces a flow: {status, differences, options_changed, options_left, queues_restored,
-- schedules_changed}. The status is compiled (new), verified,
-- recompiled (deleted with its data and made anew; only when asked to) or mismatch (nothing was changed).
-- A flow whose shape is right gets the options of the definition in place; options_changed names them.
-- On a foreign core they stay as they are, and options_left names them.
-- Its queues are made again where their tables are gone; queues_restored names them.
-- schedules: those that the flow's code declares become so; NULL leaves them alone. schedules_changed names what differed.
-- flow_type: 'job' marks it as one for those who list jobs; nothing else depends on it.
-- A flow with step queues keeps them. To verify takes no right to write (D-11). Rule: D-17.
create or replace function pgflow_mp.compile_flow(
  flow_slug text, shape jsonb, recompile boolean default false, flow_type text default 'flow',
  schedules jsonb default null
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  stored_mode text;
  differences text[];
  status text := 'verified';
  options_changed text[] := '{}';
  options_left text[] := '{}';
  queues_restored text[] := '{}';
  schedules_changed text[] := '{}';
begin
  perform pgflow_mp._lock_definition(compile_flow.flow_slug);
  select f.queue_mode into stored_mode from pgflow.flows as f where f.flow_slug = compile_flow.flow_slug;
  perform pgflow._derive_queue_routes(compile_flow.flow_slug, shape, coalesce(stored_mode, 'flow'));
  differences := case
    when stored_mode is null then '{}'
    else pgflow._compare_flow_shapes(shape, pgflow._get_flow_shape(compile_flow.flow_slug))
  end;

  if stored_mode is null then
    perform pgflow._create_flow_from_shape(compile_flow.flow_slug, shape, 'flow');
    status := 'compiled';
  elsif cardinality(differences) = 0 then
    options_changed := pgflow_mp._option_differences(compile_flow.flow_slug, shape);
    --beside: options_left := options_changed;
    --beside: options_changed := '{}';
    if cardinality(options_changed) > 0 then
      perform pgflow_mp._set_options(compile_flow.flow_slug, shape);
    end if;
    queues_restored := pgflow_mp._restore_queues(compile_flow.flow_slug);
  elsif recompile then
    perform pgflow_mp._restore_queues(compile_flow.flow_slug);  -- pgmq cannot drop what is half there
    perform pgflow_mp._make_anew(compile_flow.flow_slug, shape, stored_mode);
    status := 'recompiled';
  else
    status := 'mismatch';
  end if;
  if compile_flow.flow_type = 'job' and status <> 'mismatch' then
    perform pgflow_mp._mark_job(compile_flow.flow_slug);
  end if;
  if compile_flow.schedules is not null and status <> 'mismatch' then
    schedules_changed := pgflow_mp._declare_schedules(compile_flow.flow_slug, compile_flow.schedules);
  end if;
  return jsonb_build_object(
    'status', status, 'differences', differences, 'options_changed', options_changed,
    'options_left', options_left, 'queues_restored', queues_restored, 'schedules_changed', schedules_changed
  );
end;
$$;
