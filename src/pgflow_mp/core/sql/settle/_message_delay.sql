-- Seconds until a message is visible, on the clock; 0 where it is, or is gone.
create or replace function pgflow_mp._message_delay(queue_name text, message_id bigint)
returns double precision
language plpgsql
stable
set search_path = ''
as $$
declare
  delay double precision;
begin
  execute format(
    'select extract(epoch from q.vt - clock_timestamp()) from pgmq.%I as q where q.msg_id = $1',
    pgmq.format_table_name(_message_delay.queue_name, 'q')
  ) into delay using _message_delay.message_id;
  return greatest(coalesce(delay, 0), 0);
end;
$$;
