-- Claims tasks of many flows in one round trip, for worker i those of flow i, and returns what a handler needs.
-- quantities[i] is what flow i may have if it gets all the room that the caller has; each of its tasks takes its
-- share of the room, and the flows behind it get what is left, so the whole never exceeds the room. A flow with a
-- queue for each step is claimed from the later steps first, so that runs end before new ones start.
-- only_runs: no task of another run is touched.
--
-- Locks task rows first, then their queue rows (D-2), never waits for another claimer, and returns only what it
-- really started. Messages that match no claimable task are passed over, however many lie in front. flow_input is
-- the run's input for root single steps, else NULL; timeout is the step's, else the flow's, in seconds (core
-- 3.13, generations 2.6).
create or replace function pgflow_mp.claim_tasks(
  flow_slugs text[], worker_ids uuid[], quantities int[], only_runs uuid[] default null
)
returns table (
  flow_slug text, run_id uuid, step_slug text, task_index int, msg_id bigint,
  attempt int, timeout int, input jsonb, flow_input jsonb
)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  source record;
  room double precision := 1;
  wanted int;
  claimed int;
begin
  for source in
    select given.flow_slug, given.worker_id, given.quantity, given.place, route.queue_name
    from unnest(flow_slugs, worker_ids, quantities) with ordinality
      as given (flow_slug, worker_id, quantity, place)
    cross join lateral (
      select s.queue_name, max(s.step_index) as depth
      from pgflow.steps as s
      where s.flow_slug = given.flow_slug
      group by s.queue_name
    ) as route
    order by given.place, route.depth desc
  loop
    wanted := floor(source.quantity * room + 0.001);
    continue when wanted is null or wanted <= 0;

    return query
      select
        source.flow_slug, t.run_id, t.step_slug, t.task_index, t.msg_id, t.attempt, t.timeout, t.input, t.flow_input
      from pgflow_mp._claim_from_queue(
        source.flow_slug, source.queue_name, source.worker_id, wanted, only_runs) as t;
    get diagnostics claimed = row_count;
    room := room - claimed::double precision / source.quantity;
  end loop;
end;
$$;
