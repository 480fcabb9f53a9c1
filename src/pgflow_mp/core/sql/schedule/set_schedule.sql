-- Makes a schedule, or changes the one of that name, and returns it as list_schedules does. A changed one begins anew: no
-- tick before now is caught up. The same again changes nothing, and a pause stays. A schedule that is declared in a
-- flow's code is changed there; one of another flow has to be deleted first.
-- Runs with the owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.set_schedule(flow_slug text, schedule jsonb)
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
  stored pgflow_mp.schedules;
begin
  select s.* into stored from pgflow_mp.schedules as s where s.schedule_name = schedule ->> 'name' for update;
  if stored.declared then
    raise exception 'schedule "%" is declared in the code of flow "%"; change it there',
      stored.schedule_name, stored.flow_slug;
  end if;
  perform pgflow_mp._write_schedule(set_schedule.flow_slug, schedule, declared => false);
  return (select s from pgflow_mp.list_schedules(null, schedule ->> 'name') as s);
end;
$$;
