-- Which of these flows have messages in their queues, visible or not, in as little time as can be: for a worker of very
-- many flows, most of which are empty most of the time. A mark says: the queue was empty when its messages had been
-- numbered so far. Where nothing was numbered since, the queue is left out without a look into it; of the others
-- each is returned with a new mark, or with NULL where there are messages.
--
-- A hint, not a proof: a message that was numbered before and is committed later is not seen (its commit is announced).
-- So whoever asks looks at some flows without asking, in turn. Runs with the owner's rights: sequences have their own.
create or replace function pgflow_mp.stirred_flows(flow_slugs text[], marks bigint[])
returns table (flow_slug text, mark bigint)
language plpgsql
security definer
set search_path = ''
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  stirred record;
  queue_name text;
  has_messages boolean;
begin
  for stirred in
    select given.flow_slug, numbered.so_far, numbered.queues
    from unnest(flow_slugs, marks) as given (flow_slug, mark)
    cross join lateral (
      select
        sum(coalesce(pg_catalog.pg_sequence_last_value(q.sequence), 0))::bigint as so_far,
        array_agg(q.queue_name) as queues
      from (
        select
          s.queue_name,
          to_regclass(format('pgmq.%I', pgmq.format_table_name(s.queue_name, 'q') || '_msg_id_seq')) as sequence
        from pgflow.steps as s
        where s.flow_slug = given.flow_slug
        group by s.queue_name
      ) as q
      where q.sequence is not null
    ) as numbered
    where numbered.so_far is distinct from given.mark
      and numbered.queues is not null
  loop
    has_messages := false;
    foreach queue_name in array stirred.queues loop
      execute format('select exists (select from pgmq.%I)', pgmq.format_table_name(queue_name, 'q')) into has_messages;
      exit when has_messages;
    end loop;
    flow_slug := stirred.flow_slug;
    mark := case when not has_messages then stirred.so_far end;
    return next;
  end loop;
end;
$$;
