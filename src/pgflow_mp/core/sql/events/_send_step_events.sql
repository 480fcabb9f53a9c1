-- Emits one event for each of the given steps, in the given order, from the row as it is now (core section 7).
-- kind names the payload:
--   started                 by _start_ready_steps
--   completed               by a task (CT-7)
--   completed taskless      by _complete_taskless_steps
--   failed                  error_message of the step
--   skipped                 by a condition or a forced cascade: with flow_slug
--   skipped by handler      by an exhausted task: with error_message, without flow_slug (FT-9)
create or replace function pgflow_mp._send_step_events(kind text, run_ids uuid[], step_slugs text[])
returns void
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  event record;
begin
  for event in
    select s.run_id, s.step_slug, s.status,
      jsonb_build_object(
        'event_type', 'step:' || s.status,
        'run_id', s.run_id,
        'step_slug', s.step_slug,
        'status', s.status
      ) || case _send_step_events.kind
        when 'started' then jsonb_build_object(
          'started_at', s.started_at, 'remaining_tasks', s.remaining_tasks, 'remaining_deps', s.remaining_deps)
        when 'completed' then jsonb_build_object('output', s.output, 'completed_at', s.completed_at)
        when 'completed taskless' then jsonb_build_object(
          'output', s.output, 'started_at', s.started_at, 'completed_at', s.completed_at,
          'remaining_tasks', s.remaining_tasks, 'remaining_deps', s.remaining_deps)
        when 'failed' then jsonb_build_object('error_message', s.error_message, 'failed_at', s.failed_at)
        when 'skipped' then jsonb_build_object(
          'flow_slug', s.flow_slug, 'skip_reason', s.skip_reason, 'skipped_at', s.skipped_at)
        when 'skipped by handler' then jsonb_build_object(
          'skip_reason', s.skip_reason, 'error_message', s.error_message, 'skipped_at', s.skipped_at)
      end as payload
    from unnest(_send_step_events.run_ids, _send_step_events.step_slugs)
      with ordinality as given (run_id, step_slug, place)
    cross join lateral (
      select own.*
      from pgflow.step_states as own
      where own.run_id = given.run_id
        and own.step_slug = given.step_slug
      offset 0
    ) as s
    order by given.place
  loop
    perform pgflow_mp._send_event(
      event.payload, 'step:' || event.step_slug || ':' || event.status, 'pgflow:run:' || event.run_id);
  end loop;
end;
$$;
