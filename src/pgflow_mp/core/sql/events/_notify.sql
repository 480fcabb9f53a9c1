-- Our own notification, delivered at commit (D-10): the distinct items, comma separated, or an empty payload when
-- they would not fit into one (Postgres allows 7,999 bytes). Empty means "look yourself". Channels:
--   pgflow_mp_work   names of queues with messages that became visible
--   pgflow_mp_runs   ids of runs that became terminal
--   pgflow_mp_cancelled   ids of runs that were cancelled, for the workers that run them
create or replace function pgflow_mp._notify(channel text, items text[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  payload text;
begin
  select string_agg(distinct item, ',') into payload from unnest(items) as item;
  if payload is not null then
    perform pg_notify(channel, case when octet_length(payload) < 7900 then payload else '' end);
  end if;
end;
$$;
