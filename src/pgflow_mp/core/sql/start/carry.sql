-- Notes what the callers that start runs pass along with them; for the transaction that starts them. carriers[i] belongs
-- to run_ids[i]. Runs with its owner's rights: a client needs none on tables (D-11). What is noted already stays.
create or replace function pgflow_mp.carry(run_ids uuid[], carriers jsonb[])
returns void
language sql
security definer
set search_path = ''
as $$
  insert into pgflow_mp.carriers (run_id, step_slug, task_index, carrier)
  select given.run_id, '', 0, given.carrier
  from unnest(carry.run_ids, carry.carriers) as given (run_id, carrier)
  join pgflow.runs as r on r.run_id = given.run_id
  on conflict do nothing;
$$;
