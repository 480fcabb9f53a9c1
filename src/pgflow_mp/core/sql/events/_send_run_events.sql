-- Emits one event for each of the given runs, in the given order, from the row as it is now (core section 7).
-- event_type is run:started, run:completed or run:failed. error_messages goes with run:failed; NULL instead of
-- the array leaves the key out, as a type violation does (CT-4).
create or replace function pgflow_mp._send_run_events(
  event_type text, run_ids uuid[], error_messages text[] default null
)
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
    select r.run_id,
      jsonb_build_object(
        'event_type', _send_run_events.event_type,
        'run_id', r.run_id,
        'flow_slug', r.flow_slug,
        'status', r.status
      ) || case _send_run_events.event_type
        when 'run:started' then jsonb_build_object(
          'input', r.input, 'remaining_steps', r.remaining_steps, 'started_at', r.started_at)
        when 'run:completed' then jsonb_build_object('output', r.output, 'completed_at', r.completed_at)
        else jsonb_build_object('failed_at', r.failed_at)
          || case
            when _send_run_events.error_messages is null then '{}'
            else jsonb_build_object('error_message', given.error_message)
          end
      end as payload
    from unnest(_send_run_events.run_ids, _send_run_events.error_messages)
      with ordinality as given (run_id, error_message, place)
    cross join lateral (select own.* from pgflow.runs as own where own.run_id = given.run_id offset 0) as r
    order by given.place
  loop
    perform pgflow_mp._send_event(event.payload, event_type, 'pgflow:run:' || event.run_id);
  end loop;
end;
$$;
