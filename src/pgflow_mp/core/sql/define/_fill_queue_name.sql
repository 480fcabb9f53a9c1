-- Gives rows that were inserted without a queue name the right one: steps the queue of their flow, tasks the
-- route of their step (core QI-1; generations 9.3). Our own writers always name the queue and never get here.
create or replace function pgflow_mp._fill_queue_name()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  if tg_table_name = 'step_tasks' then
    select s.queue_name
    into new.queue_name
    from pgflow.steps as s
    where s.flow_slug = new.flow_slug
      and s.step_slug = new.step_slug;
  end if;
  new.queue_name := coalesce(new.queue_name, lower(new.flow_slug));
  return new;
end;
$$;

create or replace trigger fill_queue_name
before insert on pgflow.steps
for each row
when (new.queue_name is null)
execute function pgflow_mp._fill_queue_name();

create or replace trigger fill_queue_name
before insert on pgflow.step_tasks
for each row
when (new.queue_name is null)
execute function pgflow_mp._fill_queue_name();
