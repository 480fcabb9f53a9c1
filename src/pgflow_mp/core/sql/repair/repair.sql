-- Finds rows that nothing would ever move again, as left by cores of other releases, by operators or by a restored
-- backup, and mends them; returns what it found, one row each, and whether it is mended now.
-- dry_run: only tells (mended is then false everywhere). flow_slugs: these flows only; NULL: all.
--
--   missing queue                     of a step: created again
--   open task of an ended step, run   its status becomes skipped or cancelled, its message is archived (TS-6)
--   task of a step not started        deleted with its message: the step makes its tasks when it starts
--   wrong counter                     remaining steps, tasks or parents are counted again
--   map without a size                its parent has ended: sized from what is stored; not when that is no array
--   failed step of a live run         the run fails
--   task given up                     stalled for ever (core ST-4): its attempt failed, the policy decides
--   failed task of a live step        it fails its step as its policy says
--   step without open tasks           its last task completes again, with all that follows
--   missing task                      made, with a message
--   task without a message            gets a new one; a running one only when its timeout has passed by 30 s
--   ready step that was not started   started
--   run without open steps            completed
--   message without a task            archived
--
-- Damage of the first kind found is mended everywhere, then the runs concerned are looked at again, since one
-- damage may hide another. All their locks are taken first and kept (D-2). Work in progress is no damage, and a
-- second call finds nothing.
create or replace function pgflow_mp.repair(dry_run boolean default true, flow_slugs text[] default null)
returns table (
  damage text, flow_slug text, run_id uuid, step_slug text, task_index int, queue_name text, message_id bigint,
  mended boolean
)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  mine constant text[] := array(
    select f.flow_slug from pgflow.flows as f where repair.flow_slugs is null or f.flow_slug = any(repair.flow_slugs));
  queues constant text[] := array(
    select distinct s.queue_name from pgflow.steps as s where s.flow_slug = any(mine));
  concerned uuid[];
  kind record;
  still_there text[];
  hopeless text[] := '{}';
begin
  if dry_run then
    return query
      select d.damage, d.flow_slug, d.run_id, d.step_slug, d.task_index, d.queue_name, d.message_id, false
      from pgflow_mp._damage(null) as d
      where coalesce(d.flow_slug = any(mine), d.queue_name = any(queues));
    return;
  end if;

  concerned := array(
    select r.run_id
    from pgflow.runs as r
    where r.run_id in (select d.run_id from pgflow_mp._damage(null) as d where d.flow_slug = any(mine))
    order by r.run_id
    for update
  );
  for round in 1 .. 100 loop
    select
      d.damage,
      array_agg(d.flow_slug) as flow_slugs, array_agg(d.run_id) as run_ids, array_agg(d.step_slug) as step_slugs,
      array_agg(d.task_index) as task_indexes, array_agg(d.queue_name) as queue_names,
      array_agg(d.message_id) as message_ids, array_agg(d::text) as rows
    into kind
    from pgflow_mp._damage(concerned) as d
    where coalesce(d.flow_slug = any(mine), d.queue_name = any(queues))
      and d.damage <> all(hopeless)
    group by d.place, d.damage
    order by d.place
    limit 1;
    exit when kind.damage is null;

    perform pgflow_mp._mend(
      kind.damage, kind.run_ids, kind.step_slugs, kind.task_indexes, kind.queue_names, kind.message_ids);
    still_there := array(select d::text from pgflow_mp._damage(concerned) as d where d.damage = kind.damage);
    if cardinality(still_there) > 0 then
      hopeless := hopeless || kind.damage;
    end if;
    return query
      select
        kind.damage, was.flow_slug, was.run_id, was.step_slug, was.task_index, was.queue_name, was.message_id,
        was.line <> all(still_there)
      from unnest(
        kind.flow_slugs, kind.run_ids, kind.step_slugs, kind.task_indexes, kind.queue_names, kind.message_ids, kind.rows
      ) as was (flow_slug, run_id, step_slug, task_index, queue_name, message_id, line);
  end loop;
end;
$$;
