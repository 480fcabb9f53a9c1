-- Archives messages, one call for each queue; NULL ids and ids that are in no queue are ignored (core 1.3 row 6).
create or replace function pgflow_mp._archive_messages(queue_names text[], message_ids bigint[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  batch record;
begin
  for batch in
    select given.queue_name, array_agg(given.message_id) as message_ids
    from unnest(queue_names, _archive_messages.message_ids) as given (queue_name, message_id)
    where given.message_id is not null
    group by given.queue_name
    order by given.queue_name
  loop
    perform pgmq.archive(batch.queue_name, batch.message_ids);
  end loop;
end;
$$;
