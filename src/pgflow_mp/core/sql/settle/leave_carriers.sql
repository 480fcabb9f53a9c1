-- Notes what completed attempts leave for the tasks that follow. Called before their outcomes are settled, so that it is
-- there when these start; a later attempt's replaces an earlier one's. A run that is gone is left out.
create or replace function pgflow_mp.leave_carriers(
  run_ids uuid[], step_slugs text[], task_indexes int[], carriers jsonb[]
)
returns void
language sql
set search_path = ''
as $$
  insert into pgflow_mp.carriers as kept (run_id, step_slug, task_index, carrier)
  select given.run_id, given.step_slug, given.task_index, given.carrier
  from unnest(
    leave_carriers.run_ids, leave_carriers.step_slugs, leave_carriers.task_indexes, leave_carriers.carriers
  ) as given (run_id, step_slug, task_index, carrier)
  join pgflow.runs as r on r.run_id = given.run_id
  order by given.run_id, given.step_slug, given.task_index
  on conflict (run_id, step_slug, task_index) do update set carrier = excluded.carrier;
$$;
