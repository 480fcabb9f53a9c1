-- Our workers that stopped, or have been silent for so long. Only ours beat while they are busy (D-3).
create or replace function pgflow_mp._gone_workers(silent interval)
returns uuid[]
language plpgsql
stable
set search_path = ''
as $$
begin
  return array(
    select w.worker_id
    from pgflow_mp.workers as ours
    join pgflow.workers as w on w.worker_id = ours.worker_id
    where w.stopped_at is not null
      or w.last_heartbeat_at < clock_timestamp() - silent
  );
end;
$$;
