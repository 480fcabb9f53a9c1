-- Makes messages visible delays[i] seconds from now (clock time); ids that are in no queue are ignored.
-- Returns the messages that were found. reads is what is added to read_ct. only_visible: one that is hidden, because somebody
-- else has just read it, counts as not found.
create or replace function pgflow_mp._delay_messages(
  queue_names text[], message_ids bigint[], delays double precision[], reads int default 0,
  only_visible boolean default false
)
returns table (queue_name text, message_id bigint)
language plpgsql
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  batch record;
begin
  for batch in
    select given.queue_name, array_agg(given.message_id) as message_ids, array_agg(given.delay) as delays
    from unnest(_delay_messages.queue_names, _delay_messages.message_ids, _delay_messages.delays)
      as given (queue_name, message_id, delay)
    where given.message_id is not null
    group by given.queue_name
    order by given.queue_name
  loop
    return query execute format(
      $query$
        update pgmq.%1$I as q
        set vt = clock_timestamp() + make_interval(secs => given.delay),
            read_ct = q.read_ct + $3
        from unnest($1, $2) as given (message_id, delay)
        where q.msg_id = given.message_id
          and (not $5 or q.vt <= clock_timestamp())
        returning $4, q.msg_id
      $query$,
      pgmq.format_table_name(batch.queue_name, 'q')
    ) using batch.message_ids, batch.delays, _delay_messages.reads, batch.queue_name,
      _delay_messages.only_visible;
  end loop;
end;
$$;
