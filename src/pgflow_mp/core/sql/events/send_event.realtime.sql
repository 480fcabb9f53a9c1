-- Hands every event to realtime.send (core 1.4 and section 7). The variant without one is send_event.silent.sql.

-- Does anybody listen? Asked before an event's payload is built.
create or replace function pgflow_mp._events_wanted()
returns boolean
language sql
immutable
parallel safe
set search_path = ''
as $$
  select true;
$$;

-- Sends one event. A sink that raises becomes a warning: no run may fail because of its audience (core 1.6).
create or replace function pgflow_mp._send_event(payload jsonb, event text, topic text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform realtime.send(payload, event, topic, false);
exception
  when others then
    raise warning 'realtime.send refused event %: %', event, sqlerrm;
end;
$$;
