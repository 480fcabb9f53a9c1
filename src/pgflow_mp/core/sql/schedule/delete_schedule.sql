-- Deletes a schedule; returns whether there was one. One that is declared in a flow's code would come back with it: it is
-- refused. Runs that it started stay.
-- Runs with the owner's rights, so that a caller needs none on the tables (D-11).
create or replace function pgflow_mp.delete_schedule(schedule_name text)
returns boolean
language plpgsql
security definer
set search_path = ''
as $$
declare
  stored record;
begin
  select s.declared, s.flow_slug into stored
  from pgflow_mp.schedules as s
  where s.schedule_name = delete_schedule.schedule_name
  for update;
  if stored.declared then
    raise exception 'schedule "%" is declared in the code of flow "%"; remove it there, or pause it',
      delete_schedule.schedule_name, stored.flow_slug;
  end if;
  delete from pgflow_mp.schedules as s where s.schedule_name = delete_schedule.schedule_name;
  return found;
end;
$$;
