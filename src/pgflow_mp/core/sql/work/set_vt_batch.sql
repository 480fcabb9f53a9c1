-- Moves the visibility of messages: message i is visible offset i seconds from now, which may be in the past.
-- Unknown ids are ignored. Rules: core 3.17.
create or replace function pgflow.set_vt_batch(queue_name text, msg_ids bigint[], vt_offsets int[])
returns table (
  msg_id bigint,
  read_ct int,
  enqueued_at timestamptz,
  vt timestamptz,
  message jsonb,
  headers jsonb
)
language plpgsql
set search_path = ''
as $$
begin
  if msg_ids is null or vt_offsets is null then
    return;
  end if;
  if array_length(msg_ids, 1) is distinct from array_length(vt_offsets, 1) then
    raise exception 'msg_ids length (%) must equal vt_offsets length (%)',
      array_length(msg_ids, 1), array_length(vt_offsets, 1);
  end if;
  return query execute format(
    $query$
      update pgmq.%I as q
      set vt = clock_timestamp() + make_interval(secs => moved.vt_offset)
      from unnest($1, $2) as moved (msg_id, vt_offset)
      where q.msg_id = moved.msg_id
      returning q.msg_id, q.read_ct, q.enqueued_at, q.vt, q.message, q.headers
    $query$,
    pgmq.format_table_name(set_vt_batch.queue_name, 'q')
  )
  using msg_ids, vt_offsets;
end;
$$;
