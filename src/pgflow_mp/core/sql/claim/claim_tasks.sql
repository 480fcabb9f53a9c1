-- Claims tasks from many sources in one round trip, for worker i from source i, and returns what a handler needs.
-- Source i is flow_slugs[i], of it the steps in steps[i]: 'a,b' for these, '-a,b' for all but these, NULL for all.
--
-- How many: quantities[i] is what source i may have if it gets all the room of its lane (lanes[i]; one lane for all
-- by default). Each of its tasks takes its share of that room, so the whole never exceeds it. most[i] bounds the
-- source whatever room there is (NULL: no bound).
-- Fairness: each source is first offered an equal part of the room that is left, or the one task that fits; what
-- they leave goes to those that took all that they were offered, in the given order. So a long queue gets no more
-- than its part while others have tasks, and everything while they have none. A flow with a queue for each step is
-- claimed from the later steps first, so that runs end before new ones start.
-- only_runs: no task of another run is touched. Paused flows are passed over (D-20).
--
-- Locks task rows first, then their queue rows (D-2), never waits for another claimer, and returns only what it
-- really started. Messages that match no claimable task are passed over, however many lie in front, and so are
-- those of steps outside of the source: a step that cannot run now keeps no other one waiting. flow_input is
-- the run's input for root single steps, else NULL; timeout is the step's, else the flow's, in seconds (core
-- 3.13, generations 2.6).
create or replace function pgflow_mp.claim_tasks(
  flow_slugs text[], worker_ids uuid[], quantities int[], only_runs uuid[] default null,
  steps text[] default null, most int[] default null, lanes int[] default null
)
returns table (
  flow_slug text, run_id uuid, step_slug text, task_index int, msg_id bigint,
  attempt int, timeout int, input jsonb, flow_input jsonb
)
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  source record;
  paused constant text[] := array(select p.flow_slug from pgflow_mp.paused_flows as p);
  rooms double precision[] := array_fill(
    1::double precision, array[greatest(1, (select max(lane) from unnest(lanes) as lane))]);
  bounds int[] := coalesce(most, '{}');
  took_all int[] := '{}';  -- entries that may have more
  entries int := 0;
  offered int;
  claimed int;
begin
  for round in 1..2 loop
    for source in
      select
        given.place::int, given.flow_slug, given.worker_id, given.quantity, given.but, given.named,
        coalesce(given.lane, 1) as lane, route.queue_name,
        (row_number() over way)::int as entry,
        count(*) over (partition by coalesce(given.lane, 1) order by given.place desc, route.depth) as sharing
      from (
        select
          u.flow_slug, u.worker_id, u.quantity, u.lane, u.place,
          u.steps like '-%' as but, string_to_array(ltrim(u.steps, '-'), ',') as named
        from unnest(flow_slugs, worker_ids, quantities, steps, lanes) with ordinality
          as u (flow_slug, worker_id, quantity, steps, lane, place)
        where u.flow_slug <> all(paused)
      ) as given
      cross join lateral (
        select s.queue_name, max(s.step_index) as depth
        from pgflow.steps as s
        where s.flow_slug = given.flow_slug
          and (given.named is null or (s.step_slug = any(given.named)) <> given.but)
        group by s.queue_name
      ) as route
      window way as (order by given.place, route.depth desc, route.queue_name)
      order by given.place, route.depth desc, route.queue_name
    loop
      continue when source.quantity is null or (round = 2 and source.entry <> all(took_all));
      offered := floor(source.quantity * rooms[source.lane] + 0.001);
      if round = 1 then
        entries := entries + 1;
        offered := least(
          offered, greatest(1, floor(source.quantity * rooms[source.lane] / source.sharing + 0.001)::int));
      end if;
      offered := least(offered, bounds[source.place]);
      continue when offered <= 0;

      return query
        select
          source.flow_slug, t.run_id, t.step_slug, t.task_index, t.msg_id, t.attempt, t.timeout, t.input,
          t.flow_input
        from pgflow_mp._claim_from_queue(
          source.flow_slug, source.queue_name, source.worker_id, offered, only_runs, source.named, source.but) as t;
      get diagnostics claimed = row_count;
      rooms[source.lane] := rooms[source.lane] - claimed::double precision / source.quantity;
      bounds[source.place] := bounds[source.place] - claimed;
      if claimed = offered then
        took_all := took_all || source.entry;
      end if;
    end loop;
    exit when entries <= 1 or took_all = '{}';
  end loop;
end;
$$;
