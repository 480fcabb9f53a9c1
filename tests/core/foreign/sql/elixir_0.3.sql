-- What the Elixir library adds to the core of 0.14.1: helpers V01 to V04 (generations 7.1).
create schema realtime;
create function realtime.send(payload jsonb, event text, topic text, private boolean default false)
returns void
language sql
as $$ select null::void; $$;

alter table pgflow.flows
  add column flow_type text not null default 'flow',
  add constraint flow_type_is_valid check (flow_type in ('flow', 'job'));
create index idx_runs_started_at on pgflow.runs (started_at desc);
create index idx_runs_flow_started on pgflow.runs (flow_slug, started_at desc);

drop function pgflow.mark_worker_stopped(uuid);
create function pgflow.mark_worker_stopped(p_worker_id uuid)
returns void
language sql
as $$ update pgflow.workers as w set stopped_at = clock_timestamp() where w.worker_id = p_worker_id; $$;

-- By the step's timeout, for runs and steps that are under way, three times at most (V02, V04).
create function pgflow.recover_stalled_tasks(
  p_stale_threshold double precision, out recovered_count bigint, out vt_batches bigint
)
language plpgsql
security definer
set search_path = ''
as $$
declare
  stalled pgflow.step_tasks[] := array(
    select t
    from pgflow.step_tasks as t
    join pgflow.runs as r on r.run_id = t.run_id and r.status = 'started'
    join pgflow.step_states as st
      on st.run_id = t.run_id and st.step_slug = t.step_slug and st.status = 'started'
    join pgflow.flows as f on f.flow_slug = t.flow_slug
    join pgflow.steps as s on s.flow_slug = t.flow_slug and s.step_slug = t.step_slug
    where t.status = 'started' and t.permanently_stalled_at is null
      and t.started_at < now() - make_interval(
        secs => greatest(p_stale_threshold, coalesce(s.opt_timeout, f.opt_timeout) + 30)
      )
    for update of t skip locked
  );
begin
  update pgflow.step_tasks as t
  set status = case when t.requeued_count < 3 then 'queued' else t.status end,
      started_at = case when t.requeued_count < 3 then null else t.started_at end,
      last_worker_id = case when t.requeued_count < 3 then null else t.last_worker_id end,
      last_requeued_at = case when t.requeued_count < 3 then now() else t.last_requeued_at end,
      permanently_stalled_at = case when t.requeued_count < 3 then null else now() end,
      requeued_count = least(t.requeued_count + 1, 3)
  from unnest(stalled) as s
  where (t.run_id, t.step_slug, t.task_index) = (s.run_id, s.step_slug, s.task_index);
  perform case
    when s.requeued_count < 3 then (select count(*) from pgmq.set_vt(pgflow._queue(s), s.message_id, 0))
    else pgmq.archive(pgflow._queue(s), s.message_id)::int
  end
  from unnest(stalled) as s;
  recovered_count := (select count(*) from unnest(stalled) as s where s.requeued_count < 3);
  vt_batches := (select count(distinct pgflow._queue(s)) from unnest(stalled) as s where s.requeued_count < 3);
end;
$$;

create function pgflow.prune_data_older_than(
  p_retention_interval interval, p_flow_slugs text[] default null,
  out workers bigint, out tasks bigint, out states bigint, out runs bigint
)
language plpgsql
as $$
declare
  old uuid[] := array(
    select r.run_id from pgflow.runs as r
    where coalesce(r.completed_at, r.failed_at) < now() - p_retention_interval
      and (p_flow_slugs is null or r.flow_slug = any (p_flow_slugs))
  );
begin
  delete from pgflow.workers as w where w.last_heartbeat_at < now() - p_retention_interval;
  get diagnostics workers = row_count;
  delete from pgflow.step_tasks as t where t.run_id = any (old);
  get diagnostics tasks = row_count;
  delete from pgflow.step_states as s where s.run_id = any (old);
  get diagnostics states = row_count;
  delete from pgflow.runs as r where r.run_id = any (old);
  get diagnostics runs = row_count;
end;
$$;

alter type pgflow.step_task_record add attribute attempts_count int;
create view pgflow.extensions_version as select 4 as version;
comment on view pgflow.extensions_version is 'pgflow extensions version=4';

create or replace function pgflow.start_tasks(flow_slug text, msg_ids bigint[], worker_id uuid)
returns setof pgflow.step_task_record
language plpgsql
set search_path = ''
as $$
begin
  return query
  with chosen as materialized (
    select s as task, s.run_id, s.step_slug, s.task_index, s.message_id, s.attempts_count
    from pgflow._startable(start_tasks.flow_slug, start_tasks.msg_ids, null, null) as s
  ), updated as (
    update pgflow.step_tasks as t
    set status = 'started', started_at = now(), attempts_count = t.attempts_count + 1,
        last_worker_id = start_tasks.worker_id
    from chosen
    where (t.run_id, t.step_slug, t.task_index) = (chosen.run_id, chosen.step_slug, chosen.task_index)
      and t.status = 'queued'
  )
  select start_tasks.flow_slug, c.run_id, c.step_slug, i.input, c.message_id, c.task_index, i.flow_input,
         c.attempts_count + 1
  from chosen as c
  cross join lateral pgflow._task_inputs(c.task) as i;
end;
$$;
