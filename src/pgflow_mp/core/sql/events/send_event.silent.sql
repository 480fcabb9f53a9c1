-- This database has no realtime.send: no event is emitted (D-10). The variant with one is
-- send_event.realtime.sql.

-- Does anybody listen? Asked before an event's payload is built.
create or replace function pgflow_mp._events_wanted()
returns boolean
language sql
immutable
parallel safe
set search_path = ''
as $$
  select false;
$$;

create or replace function pgflow_mp._send_event(payload jsonb, event text, topic text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  null;
end;
$$;
