-- Tells what compile_flow would find, and changes nothing: {status, differences, options_changed, options_left,
-- queues_restored, schedules_changed}. The status is verified, mismatch or missing; the options and the queues are those that compiling would set and make again.
-- Takes no lock and no right to write. Rule: D-17.
create or replace function pgflow_mp.check_flow(flow_slug text, shape jsonb, schedules jsonb default null)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
  stored_mode constant text := (select f.queue_mode from pgflow.flows as f where f.flow_slug = check_flow.flow_slug);
  differences text[] := '{}';
  options_changed text[] := '{}';
  options_left text[] := '{}';
begin
  perform pgflow._derive_queue_routes(check_flow.flow_slug, shape, coalesce(stored_mode, 'flow'));
  if stored_mode is not null then
    differences := pgflow._compare_flow_shapes(shape, pgflow._get_flow_shape(check_flow.flow_slug));
  end if;
  if stored_mode is not null and cardinality(differences) = 0 then
    options_changed := pgflow_mp._option_differences(check_flow.flow_slug, shape);
    --beside: options_left := options_changed;
    --beside: options_changed := '{}';
  end if;
  return jsonb_build_object(
    'status', case
      when stored_mode is null then 'missing'
      when cardinality(differences) > 0 then 'mismatch'
      else 'verified'
    end,
    'differences', differences,
    'options_changed', options_changed,
    'options_left', options_left,
    'queues_restored', pgflow_mp._missing_queues(check_flow.flow_slug),
    'schedules_changed', array(
      select d.said from pgflow_mp._schedule_differences(check_flow.flow_slug, coalesce(check_flow.schedules, '[]')) as d
      where check_flow.schedules is not null
    )
  );
end;
$$;
