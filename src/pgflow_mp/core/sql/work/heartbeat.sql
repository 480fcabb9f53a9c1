-- Beats for workers and answers, for each, whether it shall finish and exit. A worker without a row shall: somebody
-- removed it (generations 3.4, SU-7). Rows are touched in one order, so that two beats never wait for each other.
-- Rules: core 4.7.2, C-7.
create or replace function pgflow_mp.heartbeat(worker_ids uuid[])
returns table (worker_id uuid, deprecated boolean)
language sql
set search_path = ''
as $$
  with present as (
    select w.worker_id
    from pgflow.workers as w
    where w.worker_id = any (worker_ids)
    order by w.worker_id
    for no key update
  ),
  beaten as (
    update pgflow.workers as w
    set last_heartbeat_at = clock_timestamp()
    from present as p
    where w.worker_id = p.worker_id
    returning w.worker_id, w.deprecated_at is not null as deprecated
  )
  select asked.worker_id, coalesce(b.deprecated, true)
  from unnest(worker_ids) as asked (worker_id)
  left join beaten as b on b.worker_id = asked.worker_id;
$$;
