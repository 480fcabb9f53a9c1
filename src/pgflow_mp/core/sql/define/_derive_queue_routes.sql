-- Which step of a shape is queued where: [{stepSlug, queueName}, ...] in step order. Slugs are checked on the way, in
-- both modes; only a flow with one queue may keep slugs of before the strict rule, because the names of step queues
-- are unambiguous by it (QN-5). Rules: generations 5.5, R-1 to R-5 in this order, SU-9.
create or replace function pgflow._derive_queue_routes(p_flow_slug text, p_shape jsonb, p_queue_mode text)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
  step_slugs constant text[] := array(
    select s.step ->> 'slug'
    from jsonb_array_elements(coalesce(p_shape -> 'steps', '[]')) with ordinality as s (step, place)
    order by s.place
  );
  queues text[] := '{}';
  queue text;
  earlier int;
begin
  if p_queue_mode is null or p_queue_mode not in ('flow', 'step') then
    raise exception 'Unknown queue mode "%".', p_queue_mode;
  end if;
  if p_queue_mode = 'step' and cardinality(step_slugs) = 0 then
    raise exception 'Flow "%" cannot use per-step queues: it has no steps.', p_flow_slug;
  end if;
  perform pgflow_mp._assert_valid_slugs(p_flow_slug, step_slugs, leave_existing => p_queue_mode = 'flow');

  for i in 1..cardinality(step_slugs) loop
    select min(e.place)
    into earlier
    from unnest(step_slugs[:i - 1]) with ordinality as e (slug, place)
    where lower(e.slug) = lower(step_slugs[i]);
    if earlier is not null then
      raise exception 'Steps "%" and "%" in flow "%" conflict case-insensitively.',
        step_slugs[earlier], step_slugs[i], p_flow_slug;
    end if;
    queue := lower(p_flow_slug);
    if p_queue_mode = 'step' then
      queue := pgflow._resolve_step_queue_name(p_flow_slug, step_slugs[i], i - 1);
      perform pgmq.validate_queue_name(queue);
      if queue = any (queues) then
        raise exception 'Steps "%" and "%" in flow "%" both resolve to queue "%".',
          step_slugs[array_position(queues, queue)], step_slugs[i], p_flow_slug, queue;
      end if;
    end if;
    queues := queues || queue;
  end loop;

  return (
    select coalesce(jsonb_agg(jsonb_build_object('stepSlug', r.slug, 'queueName', r.queue) order by r.place), '[]')
    from unnest(step_slugs, queues) with ordinality as r (slug, queue, place)
  );
end;
$$;
