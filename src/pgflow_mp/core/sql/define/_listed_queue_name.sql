-- The spelling under which pgmq lists a queue, whatever its case; the argument itself when none is listed.
-- Two listed spellings share one pair of tables: 42P09. Rules: generations 4.2.
create or replace function pgflow._listed_queue_name(p_queue_name text)
returns text
language plpgsql
stable
set search_path = ''
as $$
declare
  spellings text[] := array(
    select l.queue_name::text
    from pgmq.list_queues() as l
    where lower(l.queue_name) = lower(p_queue_name)
    order by l.queue_name::text collate "C"
  );
begin
  if cardinality(spellings) > 1 then
    raise exception 'queue name "%" is ambiguous: it matches listed queues %', p_queue_name, spellings
      using errcode = 'ambiguous_alias';
  end if;
  return coalesce(spellings[1], p_queue_name);
end;
$$;
