-- Queues stalled tasks again, without spending an attempt; returns how many (core 5.2, generations 2.7).
-- What it gives up on stays started, as the contract says; pgflow_mp.recover_tasks ends those too.
create or replace function pgflow.requeue_stalled_tasks()
returns int
language plpgsql
security definer
set search_path = ''
as $$
begin
  return (select count(*) from pgflow_mp._requeue_stalled_tasks(margin => 30));
end;
$$;
