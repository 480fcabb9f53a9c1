-- Is this message in its queue?
create or replace function pgflow_mp._message_exists(queue_name text, message_id bigint)
returns boolean
language plpgsql
stable
set search_path = ''
as $$
declare
  answer boolean;
begin
  execute format(
    'select exists (select from pgmq.%I as q where q.msg_id = $1)', pgmq.format_table_name(queue_name, 'q')
  ) into answer using message_id;
  return answer;
end;
$$;
